"""From what was measured on a device to its profile; what could not be measured is taken from a base, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.profile import NOT_MEASURED, Above, Amount, Arithmetic, Kind, Levels, Measured, Profile, Transition
from coc_cli.profiling.fit import Fit, Sample, non_limiting_rates
from coc_cli.profiling.machine import Clock
from coc_cli.profiling.meters import Meter, NoMeter

DIGITS = 6  # significant ones, of every number in a profile


@dataclass(frozen=True)
class Power:
    """What a device drew at the level at which it was timed."""

    busy_mw: float  # mean while it ran the parts, each by its fraction of their time
    idle_mw: float
    meter: str


@dataclass(frozen=True)
class PowerReading:
    """What a meter showed, or why there is none."""

    meter: Meter | NoMeter
    idle_mw: float = 0.0
    busy_mw: tuple[float, ...] = ()  # by part

    @property
    def description(self) -> str:
        """How the energy was measured, or why not."""
        return f"{NOT_MEASURED}: {self.meter.reason}" if isinstance(self.meter, NoMeter) else self.meter.name

    def energy_mj(self, time_ms: Sequence[float]) -> list[float | None]:
        """Return the energy of each part above idle in mJ; None: not measured."""
        if isinstance(self.meter, NoMeter):
            return [None] * len(time_ms)
        return [max(0.0, mw - self.idle_mw) * ms / 1e3 for mw, ms in zip(self.busy_mw, time_ms, strict=True)]

    def power(self, time_ms: Sequence[float]) -> Power | None:
        """Return the power of the parts, each by its fraction of the time."""
        if isinstance(self.meter, NoMeter):
            return None
        return Power(float(np.average(self.busy_mw, weights=time_ms)), self.idle_mw, self.meter.name)


@dataclass(frozen=True)
class MeasuredDevice:
    """What was measured of a device."""

    samples: tuple[Sample, ...]
    fit: Fit
    clock: Clock
    power: Power | None
    measured: Measured
    source: str  # "measured DATE on DEVICE, N threads, torch V"


def profile_of(device: MeasuredDevice, base: Profile, name: str, description: str) -> Profile:
    """Return the profile of a device that was timed."""
    frequency = frequencies(device.clock, base)
    ratio = np.array(frequency.values) / frequency.values[-1]
    of_base = np.array(base.frequency_mhz.values) / base.frequency_mhz.values[-1]
    voltage = np.interp(ratio, of_base, base.voltage_mv.values)
    at, voltage_ratio = level_ratio(device.clock), 1.0
    if at < 1:
        voltage_ratio = float(np.interp(at, ratio, voltage) / voltage[-1])
    return Profile(
        name=name,
        description=description,
        frequency_mhz=frequency,
        voltage_mv=Levels(
            values=tuple(map(rounded, voltage.tolist())),
            source=f"{NOT_MEASURED}; assumed: {base.name}'s at the same share of the highest frequency",
        ),
        arithmetic=_arithmetic(device, base, at, voltage_ratio),
        static_power_mw=_static(device, base, voltage_ratio),
        idle_power_mw=_idle(device, base),
        transition=Transition(
            time_us=_as_in(base, base.transition.time_us),
            energy_uj=_as_in(base, base.transition.energy_uj),
            settle_us=_as_in(base, base.transition.settle_us) if base.transition.settle_us else None,
        ),
        memory_bandwidth_gbs=_bandwidth(device, base),
        overhead_us=_overhead(device, base),
        measured=device.measured,
    )


def rounded(value: float) -> float:
    """Return a number with six significant digits."""
    return float(f"{value:.{DIGITS}g}")


def frequencies(clock: Clock, base: Profile) -> Levels:
    """Return the levels that the system lists, else the base's, scaled so that the highest is the frequency now."""
    if clock.levels_mhz:
        return Levels(values=clock.levels_mhz, source=f"{clock.now_source}: scaling_available_frequencies")
    values = base.frequency_mhz.values
    if clock.now_mhz is None:
        return Levels(values=values, source=f"{NOT_MEASURED}: none is shown; assumed: {base.name}'s levels")
    scaled = tuple(rounded(one / values[-1] * clock.now_mhz) for one in values)
    what = f"the highest is what {clock.now_source} shows; levels are not listed, assumed: {base.name}'s shares of it"
    return Levels(values=scaled, source=f"{NOT_MEASURED}: {what}")


def level_ratio(clock: Clock) -> float:
    """Return the frequency at which the device was timed as a fraction of its highest level."""
    if not clock.levels_mhz or clock.now_mhz is None:
        return 1.0
    return min(1.0, max(clock.now_mhz, clock.levels_mhz[0]) / clock.levels_mhz[-1])


def _scaling(at: float, law: str) -> str:
    return "" if at == 1 else f"; timed at {at:.0%} of the highest frequency and scaled up to it, {law} assumed"


def _fitted(device: MeasuredDevice) -> str:
    worst, typical = device.fit.largest_error, device.fit.median_error
    parts = "1 part" if len(device.samples) == 1 else f"{len(device.samples)} parts"
    off = f"off by {typical:.1%} (median), {worst:.1%} (worst)" if device.fit.is_tested else "too few to test the model"
    return f"{device.source}: fitted to the times of {parts}, {off}"


def _as_in(base: Profile, number: Amount) -> Amount:
    return Amount(value=number.value, source=_taken(base, number.source))


def _taken(base: Profile, source: str) -> str:
    return f"{NOT_MEASURED}; assumed: as {base.name}, where it is: {source}"


def _arithmetic(device: MeasuredDevice, base: Profile, at: float, voltage_ratio: float) -> dict[Kind, Arithmetic]:
    """Return fp32 as it was found, and the other kinds of the base in its ratios to fp32."""
    base_plain = base.arithmetic["fp32"]
    plain = Arithmetic(
        throughput_gmacs=_throughput(device, base, at), dynamic_power_mw=_dynamic(device, base, at, voltage_ratio)
    )
    arithmetic: dict[Kind, Arithmetic] = {"fp32": plain}
    for kind, of_base in base.arithmetic.items():
        if kind != "fp32":
            faster = of_base.throughput_gmacs.value / base_plain.throughput_gmacs.value
            hotter = of_base.dynamic_power_mw.value / max(base_plain.dynamic_power_mw.value, 1e-9)
            what = f"{NOT_MEASURED}; assumed: {{:g}} x fp32 as {base.name}"
            arithmetic[kind] = Arithmetic(
                throughput_gmacs=Above(
                    value=rounded(plain.throughput_gmacs.value * faster), source=what.format(rounded(faster))
                ),
                dynamic_power_mw=Amount(
                    value=rounded(plain.dynamic_power_mw.value * hotter), source=what.format(rounded(hotter))
                ),
            )
    return arithmetic


def _throughput(device: MeasuredDevice, base: Profile, at: float) -> Above:
    number = base.arithmetic["fp32"].throughput_gmacs
    if device.fit.throughput_gmacs is not None:
        scaling = _scaling(at, "time ~ 1/f")
        return Above(value=rounded(device.fit.throughput_gmacs / at), source=_fitted(device) + scaling)
    return _open(base, number, non_limiting_rates(device.samples, device.fit)[0] / at)


def _bandwidth(device: MeasuredDevice, base: Profile) -> Above:
    if device.fit.bandwidth_gbs is not None:
        return Above(value=rounded(device.fit.bandwidth_gbs), source=_fitted(device))
    return _open(base, base.memory_bandwidth_gbs, non_limiting_rates(device.samples, device.fit)[1])


def _open(base: Profile, number: Above, least: float) -> Above:
    """Return a number that no part was held up by: the base's, or as much as it is at least."""
    if number.value >= least:
        return Above(value=number.value, source=_taken(base, number.source))
    return Above(
        value=rounded(least), source=f"{NOT_MEASURED}: it held up no part; assumed: the least for which that is so"
    )


def _overhead(device: MeasuredDevice, base: Profile) -> Amount:
    if device.fit.overhead_us is None:
        return _as_in(base, base.overhead_us)
    return Amount(value=rounded(device.fit.overhead_us), source=_fitted(device))


def _dynamic(device: MeasuredDevice, base: Profile, at: float, voltage_ratio: float) -> Amount:
    if device.power is None:
        return _as_in(base, base.arithmetic["fp32"].dynamic_power_mw)
    above = max(0.0, device.power.busy_mw - device.power.idle_mw) / (at * voltage_ratio**2)
    what = f"{device.source} with {device.power.meter}: power while the parts ran, less that when idle"
    return Amount(value=rounded(above), source=what + _scaling(at, "power ~ f V^2"))


def _static(device: MeasuredDevice, base: Profile, voltage_ratio: float) -> Amount:
    if device.power is None:
        return _as_in(base, base.static_power_mw)
    what = f"{device.source} with {device.power.meter}: power when idle, assumed to flow while it works too"
    scaling = "; scaled up to the highest voltage, power ~ V assumed" if voltage_ratio < 1 else ""
    return Amount(value=rounded(device.power.idle_mw / voltage_ratio), source=what + scaling)


def _idle(device: MeasuredDevice, base: Profile) -> Amount:
    if device.power is None:
        return _as_in(base, base.idle_power_mw)
    return Amount(value=rounded(device.power.idle_mw), source=f"{device.source} with {device.power.meter}: asleep")
