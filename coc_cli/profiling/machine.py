"""What Linux tells of this machine's processor: its name, its frequency now, and the levels that it lists."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from coc_cli.profiling.meters import SYSFS, read_text

PROC = Path("/proc")


@dataclass(frozen=True)
class Clock:
    """Frequencies in MHz; nothing here sets one, which would need root."""

    now_mhz: float | None = None
    now_source: str = ""
    levels_mhz: tuple[float, ...] = ()  # lowest first; none where the system does not list them


def processor_name(proc: Path = PROC) -> str:
    """Return the processor's name, or that of a board without one."""
    named = re.search(r"^model name\s*:\s*(.+)$", read_text(proc / "cpuinfo"), re.MULTILINE)
    board = read_text(proc / "device-tree/model").strip("\0\n ")
    return (named[1].strip() if named else board) or platform.processor() or platform.machine() or "unknown processor"


def slug(name: str) -> str:
    """Return a name as profiles have it: 'Intel(R) Core(TM) i7-10700 CPU @ 2.90GHz' is 'intel-core-i7-10700'."""
    plain = re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:90] or "machine"


def read_clock(sysfs: Path = SYSFS, proc: Path = PROC) -> Clock:
    """Return the frequency of the processor that is fastest now, and its levels."""
    at = {}
    for folder in sorted(sysfs.glob("devices/system/cpu/cpu[0-9]*/cpufreq")):
        text = read_text(folder / "scaling_cur_freq").strip()
        if text.isdigit() and int(text):
            at[folder] = int(text) / 1e3
    if at:
        fastest = max(at, key=lambda folder: at[folder])
        listed = read_text(fastest / "scaling_available_frequencies").split()
        levels = sorted({int(one) / 1e3 for one in listed if one.isdigit() and int(one)})
        return Clock(at[fastest], "cpufreq", tuple(levels))
    clocks_mhz = [
        float(one) for one in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)$", read_text(proc / "cpuinfo"), re.MULTILINE)
    ]
    return Clock(max(clocks_mhz), "/proc/cpuinfo") if clocks_mhz and max(clocks_mhz) > 0 else Clock()
