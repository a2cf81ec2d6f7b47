"""Power meters that Linux shows in sysfs: RAPL of Intel and AMD processors, INA3221 on NVIDIA Jetson boards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SYSFS = Path("/sys")
SAMPLE_S = 0.02  # between two readings of a sensor that shows power, not energy
CHANNELS = (1, 2, 3)  # of an INA3221; what some drivers show as a fourth is their sum
WHOLE_MODULE = "VDD_IN"  # the rail of a Jetson that feeds all others


class Meter(Protocol):
    """Something that tells what the machine draws."""

    @property
    def name(self) -> str:
        """What it is and what it covers."""

    def mean_mw(self, work: Callable[[], object], seconds: float) -> float:
        """Do the work again and again for so long; give the mean power meanwhile, in mW."""


@dataclass(frozen=True)
class NoMeter:
    """No meter, and why."""

    reason: str


@dataclass(frozen=True)
class Counter:
    """An energy counter of RAPL, in microjoules; behind `range_uj` it begins at 0 again."""

    name: str
    path: Path  # of the file energy_uj
    range_uj: int

    def read_uj(self) -> int:
        return int(self.path.read_text())


@dataclass(frozen=True)
class Rapl:
    """The processor packages, and their memory where there is a counter for it."""

    counters: tuple[Counter, ...]

    @property
    def name(self) -> str:
        return f"RAPL ({', '.join(counter.name for counter in self.counters)})"

    def mean_mw(self, work: Callable[[], object], seconds: float) -> float:
        """See `Meter`; a counter may begin at 0 again once meanwhile (the fastest does so in minutes)."""
        began, before = time.monotonic(), [counter.read_uj() for counter in self.counters]
        for _ in _turns(work, seconds):
            pass
        after, elapsed = [counter.read_uj() for counter in self.counters], time.monotonic() - began
        spent = sum(passed_uj(*reading) for reading in zip(before, after, self.counters, strict=True))
        return spent / elapsed / 1e3


def passed_uj(before: int, after: int, counter: Counter) -> int:
    """Return the energy between two readings of a counter, which may have begun at 0 again once."""
    return after - before if after >= before else after + counter.range_uj - before


@dataclass(frozen=True)
class Rail:
    """A supply line: its power in mW is the product of the numbers in these files, divided by `divisor`."""

    name: str
    paths: tuple[Path, ...]
    divisor: float

    def read_mw(self) -> float:
        product = 1.0
        for path in self.paths:
            product *= float(path.read_text())
        return product / self.divisor


@dataclass(frozen=True)
class Ina3221:
    """The supply of a complete Jetson module where that has a rail of its own, all rails otherwise."""

    rails: tuple[Rail, ...]

    @property
    def name(self) -> str:
        return f"INA3221 ({', '.join(rail.name for rail in self.rails)})"

    def mean_mw(self, work: Callable[[], object], seconds: float) -> float:
        """See `Meter`; read between two turns of the work, at most every 20 ms: what is read is the time before."""
        total, count, due = 0.0, 0, time.monotonic() + min(SAMPLE_S, seconds)
        for now in _turns(work, seconds):
            if now >= due or not count:
                total, count, due = total + sum(rail.read_mw() for rail in self.rails), count + 1, now + SAMPLE_S
        return total / count


def _turns(work: Callable[[], object], seconds: float) -> Iterator[float]:
    """Do the work once or more, until so much time has gone by; give the time after each turn."""
    now = began = time.monotonic()
    while now - began < seconds:
        work()
        now = time.monotonic()
        yield now


def find_meter(sysfs: Path = SYSFS, *, for_gpu: bool = False) -> Meter | NoMeter:
    """Return the meter that this machine has and lets one read; RAPL does not see what a GPU draws."""
    rails = _rails(sysfs)
    if rails:
        refused = _unreadable([path for rail in rails for path in rail.paths])
        return refused or Ina3221(rails)
    counters = _counters(sysfs)
    if for_gpu:
        return NoMeter("no INA3221 here, and RAPL does not see the GPU" if counters else "no INA3221 here")
    if counters:
        return _unreadable([counter.path for counter in counters]) or Rapl(counters)
    return NoMeter("neither RAPL nor INA3221 here")


def _unreadable(paths: list[Path]) -> NoMeter | None:
    path = paths[0]
    try:
        for path in paths:
            float(path.read_text())
    except PermissionError:
        return NoMeter(f"{path} is there, but may not be read; often root may")
    except (OSError, ValueError) as error:
        return NoMeter(f"{path} is there, but cannot be read: {error}")
    return None


def read_text(path: Path) -> str:
    """Return what a file of the system says; nothing where it is not there or not text."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _counters(sysfs: Path) -> tuple[Counter, ...]:
    """Return RAPL's packages and memories; not cores, which lie in packages, nor `psys`, which holds packages."""
    counters = []
    zones = sysfs / "class/powercap"
    for zone in sorted(zones.glob("intel-rapl:*")):
        name = read_text(zone / "name")
        if (zone / "energy_uj").exists() and name.startswith(("package", "dram")):
            place = f"{read_text(zones / zone.name.rpartition(':')[0] / 'name')} " if name == "dram" else ""
            largest = read_text(zone / "max_energy_range_uj")
            counters.append(Counter(place + name, zone / "energy_uj", int(largest) if largest.isdigit() else 2**32))
    return tuple(counters)


def _rails(sysfs: Path) -> tuple[Rail, ...]:
    """Return the rails of all INA3221, by either of two drivers."""
    rails = {rail.name: rail for rail in (*_iio_rails(sysfs), *_hwmon_rails(sysfs))}
    return (rails[WHOLE_MODULE],) if WHOLE_MODULE in rails else tuple(rails.values())


def _iio_rails(sysfs: Path) -> Iterator[Rail]:
    """Rails of NVIDIA's older driver, which shows power in mW."""
    for power in sorted(sysfs.glob("bus/i2c/drivers/ina3221x/*/iio*/in_power*_input")):
        channel = power.name.removeprefix("in_power").removesuffix("_input")
        yield Rail(
            read_text(power.with_name(f"rail_name_{channel}")) or f"{power.parent.name} {channel}", (power,), 1.0
        )


def _hwmon_rails(sysfs: Path) -> Iterator[Rail]:
    """Rails of Linux' own driver, which shows mV and mA."""
    for folder in sorted(sysfs.glob("class/hwmon/hwmon*")):
        if read_text(folder / "name") != "ina3221":
            continue
        for channel in CHANNELS:
            volts, amperes = folder / f"in{channel}_input", folder / f"curr{channel}_input"
            if volts.exists() and amperes.exists():
                name = read_text(folder / f"in{channel}_label") or f"{folder.name} {channel}"
                yield Rail(name, (volts, amperes), 1e3)
