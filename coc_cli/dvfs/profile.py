"""A device as the energy model sees it: levels of frequency and voltage, power, speed, and what a change costs.

A profile is a YAML file in which each number stands beside where it comes from: `{value: 5, source: assumed}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from coc_cli.errors import UserError, did_you_mean, user_error
from coc_cli.files import budget
from coc_cli.files.opening import read_text
from coc_cli.files.yaml_source import YamlSource
from coc_cli.frozen import Frozen
from coc_cli.units import LONGEST_NAME, clipped

Kind: TypeAlias = Literal["fp32", "fp16", "int8"]
MOST = 1e15  # of any number: so none that follows from a few of them is infinite
Positive: TypeAlias = Annotated[float, Field(ge=1e-9, le=MOST)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, le=MOST)]
Text: TypeAlias = Annotated[str, Field(max_length=1000)]
ASSUMED = "assumed"
NOT_MEASURED = "not measured"  # so begins the source of a number that a measured profile takes from elsewhere


class Sourced(Frozen):
    """Where a number comes from; `assumed` if nobody measured or published it."""

    source: Annotated[Text, Field(min_length=1)]


class Above(Sourced):
    """A number above 0."""

    value: Positive


class Amount(Sourced):
    """A number of 0 or more."""

    value: NotNegative


class Levels(Sourced):
    """One number a level, lowest frequency first."""

    values: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=1000)]


class Arithmetic(Frozen):
    """How fast and at what power a device multiplies numbers of one kind, at its highest level."""

    throughput_gmacs: Above  # 1e9 multiply-accumulates a second
    dynamic_power_mw: Amount


class Transition(Frozen):
    """What changing the level once costs."""

    time_us: Amount  # in which nothing is computed
    energy_uj: Amount
    settle_us: Amount | None = None  # after which a level that was asked for takes effect; None: at once


class Regulator(Sourced):
    """What feeds the device: switching, so that dynamic power goes with f V^2, or linear: the battery gives f V."""

    kind: Literal["switching", "linear"]


class TimedPart(Frozen):
    """A part of a network as it was timed; the evidence for a profile's speed."""

    name: str
    macs: NotNegative
    bytes: NotNegative
    median_ms: Positive
    p95_ms: Positive
    model_ms: NotNegative  # what the profile says of it, at the frequency at which it was timed
    energy_mj: Annotated[float, Field(ge=-MOST, le=MOST)] | None = None  # above idle; None: not measured


class Measured(Frozen):
    """When, where and how a profile was measured."""

    date: str
    machine: str
    method: str
    energy: str  # the meter, or why there is none
    checkpoint: str
    command: str
    parts: tuple[TimedPart, ...]


class Profile(Frozen):
    """A device. Dynamic power goes with f V^2 (f V behind a linear regulator), static power with V, throughput with f.

    Bandwidth does not change.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
    description: Text
    frequency_mhz: Levels
    voltage_mv: Levels
    arithmetic: dict[Kind, Arithmetic]
    static_power_mw: Amount  # at the highest voltage, while it works
    idle_power_mw: Amount  # while it waits
    transition: Transition
    board_power_mw: Amount | None = None  # of board and memory, until the deadline; None: what uses it is not counted
    regulator: Regulator | None = None  # None: switching
    memory_bandwidth_gbs: Above  # 1e9 bytes a second
    overhead_us: Amount  # for each exit visited: its start, and the decision
    measured: Measured | None = None  # by `coc profiles measure`

    @cached_property
    def levels(self) -> int:
        """How many levels there are; the last is the fastest."""
        return len(self.frequency_mhz.values)

    def sources(self) -> list[str]:
        """Return where each of its numbers (a table counts as one) comes from."""
        others = [self.regulator.source] if self.regulator else []
        return [*(number.source for _, number in self.named_numbers()), *others]

    def named_numbers(self) -> Iterator[tuple[str, Above | Amount | Levels]]:
        """Return each number, or table of them, by the key under which it stands."""
        for key in ("frequency_mhz", "voltage_mv", "static_power_mw", "idle_power_mw"):
            yield key, getattr(self, key)
        if self.board_power_mw is not None:
            yield "board_power_mw", self.board_power_mw
        yield "memory_bandwidth_gbs", self.memory_bandwidth_gbs
        yield "overhead_us", self.overhead_us
        for kind, one in self.arithmetic.items():
            yield f"arithmetic.{kind}.throughput_gmacs", one.throughput_gmacs
            yield f"arithmetic.{kind}.dynamic_power_mw", one.dynamic_power_mw
        yield "transition.time_us", self.transition.time_us
        yield "transition.energy_uj", self.transition.energy_uj
        if self.transition.settle_us is not None:
            yield "transition.settle_us", self.transition.settle_us

    def arithmetic_for(self, kind: Kind) -> Arithmetic:
        """Return the arithmetic that runs numbers of a kind: its own, or the next wider one that the device has."""
        wider: tuple[Kind, ...] = ("int8", "fp16", "fp32")
        order = wider[wider.index(kind) :]
        return next(self.arithmetic[one] for one in order if one in self.arithmetic)


def shipped() -> list[str]:
    """Return the names of the profiles that come with coc."""
    folder = files("coc_cli.dvfs") / "profiles"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_profile(named: str, *, option: str = "--profile") -> Profile:
    """Read a profile that comes with coc, by name, or a file; raises `UserError` with every fault in it."""
    if named in shipped():
        where, text = f"profile {named}", (files("coc_cli.dvfs") / "profiles" / f"{named}.yaml").read_text("utf-8")
    else:
        path = Path(named)
        if not path.is_file():
            raise user_error(option, f"no such profile or file '{named}'; {did_you_mean(named, shipped())}")
        try:
            where, text = str(path), read_text(path, budget.RECIPE_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            raise user_error(path, f"cannot be read: {error}") from error
    source = YamlSource(where, text)
    faults = list(source.faults)
    try:
        profile = Profile.model_validate_json(json.dumps(source.content), strict=True)
    except ValidationError as error:
        for details in error.errors():
            loc = tuple(part for part in details["loc"] if part != "[key]")
            message = details["msg"][0].lower() + details["msg"][1:]
            faults.append(source.fault(loc, f"{message}, got {clipped(repr(details['input']), LONGEST_NAME)}"))
    else:
        faults += [source.fault(loc, what) for loc, what in _faults(profile)]
    if faults:
        raise UserError(dict.fromkeys(faults))
    return profile


def _faults(profile: Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    frequency, voltage = profile.frequency_mhz.values, profile.voltage_mv.values
    if any(low >= high for low, high in pairwise(frequency)):
        yield ("frequency_mhz", "values"), "levels must rise from each to the next"
    if len(voltage) != len(frequency):
        yield ("voltage_mv", "values"), f"has {len(voltage)} levels, frequency_mhz has {len(frequency)}"
    if any(low > high for low, high in pairwise(voltage)):
        yield ("voltage_mv", "values"), "a faster level cannot have a lower voltage"
    if "fp32" not in profile.arithmetic:
        yield ("arithmetic",), "needs fp32; fp16 and int8 run as the next wider kind where they are missing"
