"""`coc profiles measure`: a network's parts timed on this machine, and a device profile fitted to their times."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coc_cli.dvfs.energy import Work
from coc_cli.dvfs.profile import Measured, Profile, TimedPart, read_profile, shipped
from coc_cli.errors import user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.files.yaml_source import written
from coc_cli.nets.checkpoint_header import Header, checkpoint_at, read_header
from coc_cli.profiling.fit import Fit, Sample, fit
from coc_cli.profiling.machine import PROC, Clock, processor_name, read_clock, slug
from coc_cli.profiling.measured_profile import MeasuredDevice, PowerReading, profile_of, rounded
from coc_cli.profiling.meters import SYSFS, Meter, NoMeter, find_meter
from coc_cli.recipe.device import device_named

if TYPE_CHECKING:
    from coc_cli.nets.spec import Spec
    from coc_cli.profiling import timing

BASES = {"cpu": "i7-10700", "cuda": "jetson-tx2-gpu"}
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
WINDOW_S = 1.0  # over which the power of one part is averaged


@dataclass(frozen=True)
class MeasureRequest:
    """What is to be measured, checked; nothing has been run."""

    target: Path
    checkpoint: Path
    header: Header
    base: Profile
    name: str | None
    out: Path | None
    threads: int | None
    seconds: float
    device: str

    @property
    def command(self) -> str:
        """The command line that asks for it."""
        options_given = {"out": self.out, "name": self.name, "threads": self.threads}
        options = [
            word for key, value in options_given.items() if value is not None for word in (f"--{key}", str(value))
        ]
        fixed = ["--seconds", f"{self.seconds:g}", "--device", self.device, "--base", self.base.name]
        return shlex.join(["coc", "profiles", "measure", str(self.target), *options, *fixed])


@dataclass(frozen=True)
class MeasureResult:
    """What was found, and where it lies."""

    path: Path
    profile: Profile
    fit: Fit
    whole_ms: float  # the network in one go, median
    base: str  # where the rest is from
    is_float_copy: bool  # the network is quantised; its float copy ran


def prepare(
    target: Path,
    *,
    out: Path | None = None,
    name: str | None = None,
    base: str | None = None,
    threads: int | None = None,
    seconds: float = 5.0,
    device: str = "cpu",
    trust_code: bool = False,
) -> MeasureRequest:
    """Check what was asked; raises `UserError` before any work."""
    if threads is not None and threads < 1:
        raise user_error("--threads", f"needs 1 or more, got {threads}")
    if not 0 < seconds < float("inf"):
        raise user_error("--seconds", f"needs a time above 0, got {seconds:g}")
    if name is not None and not NAME.fullmatch(name):
        raise user_error("--name", f"'{name}' is none; use lower-case letters, digits and '-', a letter or digit first")
    if name in shipped():
        raise user_error("--name", f"'{name}' is a profile that comes with coc; choose another")
    checkpoint = checkpoint_at(target)
    header = read_header(checkpoint, trust_code=trust_code)
    base_profile = None if base is None else read_profile(base, option="--base")
    _check_place(out or Path(f"{name or 'profile'}.yaml"))
    chosen = device_named(device, "--device")
    base_profile = base_profile or read_profile(BASES[chosen.partition(":")[0]])
    return MeasureRequest(target, checkpoint, header, base_profile, name, out, threads, seconds, chosen)


def _check_place(path: Path) -> None:
    """Refuse a path at which no file can be written."""
    if path.is_dir():
        raise user_error("--out", f"{path} is a directory; name a file in it")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise user_error("--out", f"{path} cannot be written: {folder} is not a directory")
    if not os.access(folder, os.W_OK):
        raise user_error("--out", f"{path} cannot be written: no permission in {folder}")


@dataclass(frozen=True)
class RawMeasurement:
    """What was taken on the device."""

    device: str
    threads: int
    times: timing.Times  # of the parts, and last of the network in one go
    clock: Clock
    draw: PowerReading
    spec: Spec  # of what ran
    environment: str


def measure(
    request: MeasureRequest,
    *,
    say: Callable[[str], None] = print,
    sysfs: Path = SYSFS,
    proc: Path = PROC,
    meter: Meter | NoMeter | None = None,
    window_s: float = WINDOW_S,
) -> MeasureResult:
    """Time the parts, measure their power where there is a meter, and write the profile; raises `UserError`."""
    meter = meter or find_meter(sysfs, for_gpu=request.device != "cpu")
    raw = run_parts(request, meter, window_s, sysfs, proc, say)
    samples = samples_of(raw.spec, raw.times.median_ms.tolist())
    time_ms = [one.time_ms for one in samples]
    fitted = fit(samples)
    measured = _measured(request, raw, samples, fitted)
    source = f"measured {measured.date[:10]} on {measured.machine}"
    device = MeasuredDevice(samples, fitted, raw.clock, raw.draw.power(time_ms), measured, source)
    name = request.name or slug(raw.device) + (f"-{raw.threads}t" if request.device == "cpu" else "")
    profile = profile_of(device, request.base, name, f"{raw.device}, timed with {request.header.spec.arch}")
    path = request.out or Path(f"{name}.yaml")
    _write(path, profile)
    return MeasureResult(
        path, profile, fitted, float(raw.times.median_ms[-1]), request.base.name, raw.spec != request.header.spec
    )


def run_parts(
    request: MeasureRequest,
    meter: Meter | NoMeter,
    window_s: float,
    sysfs: Path,
    proc: Path,
    say: Callable[[str], None],
) -> RawMeasurement:
    """Run the network's parts on the device: first nothing, for the power when idle, then times, then power."""
    import torch

    from coc_cli.nets.checkpoint import load
    from coc_cli.profiling import timing

    on_cpu = request.device == "cpu"
    device = processor_name(proc) if on_cpu else torch.cuda.get_device_name(request.device)
    network = timing.float_network(load(request.checkpoint, trust_code=True)).to(request.device)
    idle_mw = 0.0 if isinstance(meter, NoMeter) else meter.mean_mw(lambda: time.sleep(0.01), window_s)
    wait = timing.synchronizer(request.device)
    with timing.threads(request.threads) as threads:
        works, in_one_go = timing.parts(network)
        say(f"timing {len(works)} parts on {device} with torch, {_threads(threads)}, {request.seconds:g} s")
        times = timing.timed([*works, in_one_go], request.seconds, wait)
        clock = read_clock(sysfs, proc) if on_cpu else Clock()
        draw = PowerReading(meter, idle_mw)
        if not isinstance(meter, NoMeter):
            say(f"power of {len(works)} parts with {meter.name}, {window_s:g} s each")
            busy_mw = [meter.mean_mw(timing.synchronized(work, wait), window_s) for work in works]
            draw = PowerReading(meter, idle_mw, tuple(busy_mw))
    return RawMeasurement(device, threads, times, clock, draw, network.spec, f"torch {torch.__version__}")


def samples_of(spec: Spec, time_ms: Sequence[float]) -> tuple[Sample, ...]:
    """Return what each part of a network does beside its time, in the order in which they run."""
    from coc_cli.exits.collect_traces import workload

    work = workload(spec)
    works: list[tuple[str, Work, bool]] = []
    for index, segment in enumerate(work.segments):
        works.append((f"segment {index}", segment, False))
        works += [(f"head {index}", head, True) for head in work.heads[index : index + 1]]
    return tuple(
        Sample(name, work.total_macs, work.bytes, is_head, ms)
        for (name, work, is_head), ms in zip(works, time_ms[: len(works)], strict=True)
    )


def _measured(request: MeasureRequest, raw: RawMeasurement, samples: Sequence[Sample], fitted: Fit) -> Measured:
    time_ms = [one.time_ms for one in samples]
    rows = zip(samples, raw.times.p95_ms.tolist(), fitted.model_ms, raw.draw.energy_mj(time_ms), strict=False)
    parts = tuple(
        TimedPart(
            name=one.name,
            macs=one.macs,
            bytes=one.bytes,
            median_ms=rounded(one.time_ms),
            p95_ms=rounded(p95),
            model_ms=rounded(model),
            energy_mj=None if energy is None else rounded(energy),
        )
        for one, p95, model, energy in rows
    )
    float_copy = "; its float twin, as torch only imitates quantised numbers" if raw.spec != request.header.spec else ""
    return Measured(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=f"{raw.device}, {_threads(raw.threads)}, {raw.environment}",
        method=(
            f"each segment of the backbone and each head by itself, batch 1, in turn: {len(raw.times.ms)} rounds"
            f" after {raw.times.warm_up} to warm up; the medians fitted by max(MACs / throughput, bytes / bandwidth)"
            f" + overhead of a head, least squares of relative errors{float_copy}"
        ),
        energy=raw.draw.description,
        checkpoint=f"{request.checkpoint}, {request.header.spec.arch}",
        command=request.command,
        parts=parts,
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def rendered(profile: Profile) -> str:
    """Return the YAML of a profile, each number with its source behind it, that `read_profile` reads as the same."""
    return written(_ordered(profile.model_dump(mode="json", exclude_none=True)), short=True)


def _ordered(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    keys = sorted(content, key=lambda key: key == "source")
    return {key: _ordered(content[key]) for key in keys}


def _write(path: Path, profile: Profile) -> None:
    try:
        write_atomically(path, rendered(profile).encode())
    except OSError as error:
        raise user_error("--out", f"{path} cannot be written: {error.strerror}") from error
