"""What `coc profiles` prints: devices, and what was measured of this one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.dvfs.profile import ASSUMED, NOT_MEASURED, Levels, Profile
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.units import count

if TYPE_CHECKING:
    from coc_cli.profiling.measure_profile import MeasureResult

SCATTER = 1.5  # a p95 above so many medians is worth a word


def print_profiles(profiles: list[Profile]) -> None:
    """Print devices, and how many of their numbers are assumed."""
    table = table_of(
        "profiles", "profile", "levels", "MHz", "mV", "fp32 GMAC/s", "dynamic", "static", "idle", "assumed"
    )
    for one in profiles:
        plain, numbers = one.arithmetic["fp32"], one.sources()
        table.add_row(
            one.name,
            str(one.levels),
            f"{one.frequency_mhz.values[0]:g}..{one.frequency_mhz.values[-1]:g}",
            f"{one.voltage_mv.values[0]:g}..{one.voltage_mv.values[-1]:g}",
            f"{plain.throughput_gmacs.value:g}",
            f"{plain.dynamic_power_mw.value:g} mW",
            f"{one.static_power_mw.value:g} mW",
            f"{one.idle_power_mw.value:g} mW",
            f"{sum(source.startswith((ASSUMED, NOT_MEASURED)) for source in numbers)} of {len(numbers)}",
        )
    print_table(table)


def print_measured(outcome: MeasureResult, target: Path) -> None:
    """Print what `coc profiles measure` found: times beside the model's, how well it fits, and what is assumed."""
    profile, fit = outcome.profile, outcome.fit
    assert profile.measured
    table = table_of(
        f"{profile.name}: measured times, batch 1, and the model fitted to them",
        *("part", "MACs", "bytes", "median ms", "p95 ms", "model ms", "model is off", "energy mJ"),
    )
    for part, error in zip(profile.measured.parts, fit.error, strict=True):
        times = [f"{ms:.4g}" for ms in (part.median_ms, part.p95_ms, part.model_ms)]
        energy = NOT_MEASURED if part.energy_mj is None else f"{part.energy_mj:.4g}"
        table.add_row(part.name, count(part.macs), count(part.bytes), *times, f"{error:+.1%}", energy)
    print_table(table)
    total_ms = sum(part.median_ms for part in profile.measured.parts)
    print_line(
        f"the model is off by {fit.median_error:.1%} (median), {fit.largest_error:.1%} (worst) of a part's time; all"
        f" parts: {total_ms:.4g} ms, model {sum(fit.model_ms):.4g} ms; the network in one go: {outcome.whole_ms:.4g} ms"
    )
    if not fit.is_tested:
        print_line("these are too few parts to test the model: any times would fit; take a network with more exits")
    if outcome.is_float_copy:
        print_line("the network is quantised, which torch only imitates: its float twin was timed")
    print_line(f"energy: {profile.measured.energy}")
    if max(part.p95_ms / part.median_ms for part in profile.measured.parts) > SCATTER:
        print_line(
            f"times scatter (a p95 above {SCATTER:g} medians): the machine may have other work; measure when it is idle"
        )
    _print_sources(profile)
    print_line(f"profile: {outcome.path}   use: coc predict-exit {target} --profile {outcome.path}")


def _print_sources(profile: Profile) -> None:
    """Print where each number is from, those of one source together."""
    by_source: dict[str, list[str]] = {}
    for name, number in profile.named_numbers():
        value = f"{number.values[0]:g}..{number.values[-1]:g}" if isinstance(number, Levels) else f"{number.value:g}"
        by_source.setdefault(number.source, []).append(f"{name} {value}")
    for source in sorted(by_source):
        print_line(f"{', '.join(by_source[source])}\n    {source}")
