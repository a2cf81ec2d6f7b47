"""Frequency and voltage: devices, the time and energy of work on them, governors. numpy only, no torch."""
