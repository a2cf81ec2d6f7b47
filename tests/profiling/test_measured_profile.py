"""A profile from what was measured: each number from there or from the base, and each says which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from coc_cli.dvfs.profile import NOT_MEASURED, Measured, TimedPart, read_profile
from coc_cli.profiling.fit import Fit, Sample
from coc_cli.profiling.machine import Clock
from coc_cli.profiling.measure_profile import rendered
from coc_cli.profiling.measured_profile import MeasuredDevice, Power, PowerReading, frequencies, level_ratio, profile_of
from coc_cli.profiling.meters import NoMeter, Rapl

BASE = read_profile("i7-10700")
PART = TimedPart(name="segment 0", macs=1e6, bytes=1e3, median_ms=0.5, p95_ms=0.6, model_ms=0.5)
MEASURED = Measured(
    date="2026-01-02T03:04:05+00:00",
    machine="Test: a 'processor', 1 thread",
    method="by hand",
    energy="not measured: no meter",
    checkpoint="run/model.safetensors",
    command="coc profiles measure run",
    parts=(PART,),
)
SAMPLES = (Sample("segment 0", 1e6, 1e3, False, 0.5), Sample("head 0", 1e3, 1e4, True, 0.1))
FOUND = MeasuredDevice(SAMPLES, Fit(2.0, 0.25, 60.0, (0.5, 0.1), (0.0, 0.0)), Clock(), None, MEASURED, "measured today")


def sources(found: MeasuredDevice) -> dict[str, str]:
    return {name: number.source for name, number in profile_of(found, BASE, "mine", "a test").named_numbers()}


def test_without_a_meter_and_a_clock_only_speed_is_measured() -> None:
    profile = profile_of(FOUND, BASE, "mine", "a test")
    assert profile.arithmetic["fp32"].throughput_gmacs.value == 2.0
    assert profile.arithmetic["int8"].throughput_gmacs.value == 4.0, "twice fp32, as in the base"
    assert (profile.memory_bandwidth_gbs.value, profile.overhead_us.value) == (0.25, 60.0)
    assert profile.frequency_mhz.values == BASE.frequency_mhz.values
    assert profile.voltage_mv.values == BASE.voltage_mv.values
    assert profile.static_power_mw.value == BASE.static_power_mw.value
    measured = {
        name
        for name, source in sources(FOUND).items()
        if source.startswith("measured today: fitted to the times of 2 parts")
    }
    assert measured == {"arithmetic.fp32.throughput_gmacs", "memory_bandwidth_gbs", "overhead_us"}
    others = [source for name, source in sources(FOUND).items() if name not in measured]
    assert all(source.startswith(NOT_MEASURED) and "assumed: " in source for source in others)


def test_a_meter_gives_all_powers() -> None:
    found = replace(FOUND, power=Power(busy_mw=12_000.0, idle_mw=4_000.0, meter="RAPL (package-0)"))
    profile = profile_of(found, BASE, "mine", "a test")
    assert profile.arithmetic["fp32"].dynamic_power_mw.value == 8_000.0
    assert (profile.static_power_mw.value, profile.idle_power_mw.value) == (4_000.0, 4_000.0)
    said = sources(found)
    for name in ("arithmetic.fp32.dynamic_power_mw", "static_power_mw", "idle_power_mw"):
        assert said[name].startswith("measured today with RAPL (package-0): "), said[name]
    assert said["transition.energy_uj"].startswith(NOT_MEASURED)


def test_listed_levels_are_taken_and_the_speed_is_scaled_to_the_highest() -> None:
    clock = Clock(1000.0, "cpufreq", (500.0, 1000.0, 2000.0))
    found = replace(FOUND, clock=clock, power=Power(1_300.0, 300.0, "RAPL (package-0)"))
    profile = profile_of(found, BASE, "mine", "a test")
    assert profile.frequency_mhz.values == (500.0, 1000.0, 2000.0)
    assert profile.frequency_mhz.source == "cpufreq: scaling_available_frequencies"
    assert profile.voltage_mv.values[-1] == BASE.voltage_mv.values[-1]
    assert profile.arithmetic["fp32"].throughput_gmacs.value == 4.0, "timed at half of the highest frequency"
    squeeze = profile.voltage_mv.values[1] / profile.voltage_mv.values[2]
    # what the energy model makes of it at the level that was measured is what was measured
    assert profile.arithmetic["fp32"].dynamic_power_mw.value * 0.5 * squeeze**2 == pytest.approx(1_000.0, rel=1e-4)
    assert profile.static_power_mw.value * squeeze == pytest.approx(300.0, rel=1e-4)
    assert (
        "timed at 50% of the highest frequency and scaled up to it, time ~ 1/f assumed"
        in sources(found)["arithmetic.fp32.throughput_gmacs"]
    )


def test_a_single_frequency_scales_the_bases_levels() -> None:
    levels = frequencies(Clock(1450.0, "/proc/cpuinfo"), BASE)
    assert levels.values == tuple(one / 2 for one in BASE.frequency_mhz.values)
    assert levels.source == (
        "not measured: the highest is what /proc/cpuinfo shows; levels are not listed, assumed: i7-10700's shares of it"
    )


@pytest.mark.parametrize(
    ("clock", "share"),
    [
        (Clock(), 1.0),
        (Clock(2900.0, "cpufreq"), 1.0),
        (Clock(1500.0, "cpufreq", (1000.0, 2000.0)), 0.75),
        (Clock(4700.0, "cpufreq", (1000.0, 2000.0)), 1.0),  # turbo, above what is listed
    ],
)
def test_shares_of_the_highest_level(clock: Clock, share: float) -> None:
    assert level_ratio(clock) == share


def test_what_the_times_leave_open_holds_up_no_part() -> None:
    found = replace(FOUND, fit=Fit(2.0, None, None, (0.5, 0.0005), (0.0, 0.0)))
    profile = profile_of(found, BASE, "mine", "a test")
    assert profile.memory_bandwidth_gbs.value == BASE.memory_bandwidth_gbs.value, "10 bytes a MAC need 20 GB/s only"
    faster = replace(found, fit=replace(found.fit, throughput_gmacs=20.0))
    assert profile_of(faster, BASE, "mine", "a test").memory_bandwidth_gbs.value == pytest.approx(200.0)
    assert sources(faster)["memory_bandwidth_gbs"].startswith("not measured: it held up no part")
    assert sources(found)["overhead_us"].startswith("not measured; assumed: as i7-10700")


def test_energy_is_what_is_drawn_above_idle() -> None:
    draw = PowerReading(Rapl(()), idle_mw=1000.0, busy_mw=(5000.0, 800.0))
    assert draw.energy_mj([2.0, 3.0]) == [8.0, 0.0]
    power = draw.power([2.0, 3.0])
    assert power
    assert (power.busy_mw, power.idle_mw) == (pytest.approx((5000 * 2 + 800 * 3) / 5), 1000.0)
    none = PowerReading(NoMeter("no meter here"))
    assert (none.energy_mj([2.0]), none.power([2.0]), none.description) == ([None], None, "not measured: no meter here")


@pytest.mark.parametrize("power", [None, Power(12_345.678, 4_000.0, "RAPL (package-0)")])
def test_a_written_profile_reads_as_the_same(tmp_path: Path, power: Power | None) -> None:
    profile = profile_of(replace(FOUND, power=power), BASE, "mine", "a: 'test' # of\ttext")
    path = tmp_path / "mine.yaml"
    path.write_text(rendered(profile))
    assert read_profile(str(path)) == profile


def test_any_base_will_do() -> None:
    for name in ("cortex-m7", "jetson-tx2-cpu", "jetson-tx2-gpu"):
        base = read_profile(name)
        assert profile_of(FOUND, base, "mine", "a test").arithmetic.keys() == base.arithmetic.keys()
