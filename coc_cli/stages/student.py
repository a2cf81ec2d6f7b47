"""What a student takes over from the network whose backbone it replaces."""

from __future__ import annotations

from dataclasses import dataclass

from coc_cli.errors import StageError
from coc_cli.nets.cost import cost
from coc_cli.nets.exit_places import Places, spread
from coc_cli.nets.network import Network
from coc_cli.nets.precision import Precision, layers_with_own_bits, precision_of, with_precision
from coc_cli.nets.shapes import check_runs
from coc_cli.nets.slicing import sliced
from coc_cli.nets.spec import Exit, Spec
from coc_cli.stages.channel_selection import SelectionSettings, backbone_macs, choose_channels, sliced_dry
from coc_cli.units import count


@dataclass(frozen=True)
class StudentPlan:
    """A student's spec before it is reduced, and what it takes over: pruning's fraction of MACs, bits by role."""

    spec: Spec  # with exits at equal fractions of MACs
    macs_fraction: float
    precision: Precision | None

    @property
    def is_reduced(self) -> bool:
        """Whether anything is taken over that makes the student smaller."""
        return self.macs_fraction != 1.0 or self.precision is not None

    def pruned(self, student: Network) -> Network:
        """Return the student pruned to the same fraction of its MACs."""
        if self.macs_fraction == 1.0:
            return student
        return sliced(student, choose_channels(student, SelectionSettings(), self.macs_fraction))

    def expected(self) -> Spec:
        """Return the spec that the student will have; raises `StageError`."""
        spec = self.spec
        if self.macs_fraction != 1.0:
            try:
                spec = sliced_dry(spec, SelectionSettings(), self.macs_fraction)
            except StageError as error:
                what = f"the student cannot be pruned like the incoming network: {error.what}"
                raise StageError(what, "student") from error
        return with_precision(spec, self.precision) if self.precision else spec

    def notes(self, incoming: Spec) -> list[str]:
        """Return what a user should know of what the student takes over from the incoming network."""
        notes = []
        ours, theirs = cost(self.expected()).macs, cost(incoming).macs
        if ours > theirs:
            notes.append(f"the student costs more than what it replaces: {count(ours)} MACs, not {count(theirs)}")
        if self.macs_fraction < 1:
            notes.append(f"the student is pruned like the incoming network, to {self.macs_fraction:.0%} of its MACs")
        if self.precision is not None:
            notes.append(f"the student takes over the bits by role: {self.precision}")
            if incoming.scales != "learned":
                notes.append("the student's scales are learned, and no powers of two")
            own = layers_with_own_bits(incoming)
            if own:
                notes.append(f"the bits of layers set apart are gone, they get those of their role: {', '.join(own)}")
        if incoming.exits:
            places = ", ".join(place.source.removeprefix("backbone_") for place in self.spec.exits)
            gone = len(incoming.exits) - len(self.spec.exits)
            lost = f"; it has too few places, {gone} exits are gone" if gone else ""
            notes.append(f"the student has exits at the same shares of its MACs: {places}{lost}")
        return notes


def plan_student(incoming: Spec, backbone: Spec) -> StudentPlan:
    """Plan a student of that backbone for an incoming network; raises `StageError` if it cannot run."""
    try:
        check_runs(backbone)
    except StageError as error:
        raise StageError(error.what, "student") from error
    exits = _exits(incoming, backbone)
    fraction = 1.0
    if incoming.modules:
        fraction = backbone_macs(incoming) / backbone_macs(incoming.with_changes(modules={}, parameters={}))
    spec = backbone.with_changes(exits=exits, rule=incoming.rule if exits else None)
    return StudentPlan(spec, fraction, precision_of(incoming))


def _exits(incoming: Spec, backbone: Spec) -> tuple[Exit, ...]:
    """Return exits of the backbone at the same fractions of MACs as those of the incoming network."""
    if not incoming.exits:
        return ()
    before, after = Places(incoming), Places(backbone)
    fractions = [place.macs_fraction for at in incoming.exits if (place := before.named(at.source))]
    places = after.every_block() if len(after.every_block()) >= len(fractions) else after.every_conv()
    return tuple(
        Exit(source=place.source, head=at.head, channels=place.channels, codewords=at.codewords)
        for place, at in zip(spread(places, fractions), incoming.exits, strict=False)
    )
