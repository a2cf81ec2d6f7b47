"""coc profiles measure on tiny networks: parts that add up to the network, a profile that is used, what is refused."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from coc_cli.cli import app
from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.profile import NOT_MEASURED, read_profile
from coc_cli.errors import UserError
from coc_cli.exits.collect_traces import workload
from coc_cli.nets.checkpoint import save
from coc_cli.nets.network import build, without_quantizers
from coc_cli.nets.precision import LayerBits, Precision, with_precision
from coc_cli.nets.segments import split_heads
from coc_cli.nets.spec import Spec
from coc_cli.profiling import timing
from coc_cli.profiling.measure_profile import MeasureResult, measure, prepare, samples_of
from coc_cli.profiling.meters import NoMeter
from coc_cli.stages.early_exit import EarlyExit

EXITS = ("relu1", "stages.0.0.relu1", "stages.1.0")  # the second within a block, where the shortcut lives too
PARTS = ["segment 0", "head 0", "segment 1", "head 1", "segment 2", "head 2", "segment 3"]
PRECISION = Precision(LayerBits(8, 8), LayerBits(2, 3), LayerBits(7, 6), residual=5)
SPECS: dict[str, Callable[[Spec], Spec]] = {
    "without exits": lambda spec: spec,
    "pool": lambda spec: EarlyExit(exits=EXITS, head="pool", max_drop=0.01).expect(spec),
    "bof": lambda spec: EarlyExit(exits=EXITS, head="bof", max_drop=0.01).expect(spec),
    "quantised": lambda spec: with_precision(SPECS["pool"](spec), PRECISION),
}


def coc(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def checkpoint(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network with three exits, by a path below an empty folder that becomes the current one."""
    monkeypatch.chdir(tmp_path)
    save(build(SPECS["pool"](spec)), (), Path("run/model.safetensors"))
    return Path("run/model.safetensors")


@dataclass(frozen=True)
class Steady:
    """A meter that shows 1 W when idle, and 5 W else."""

    name: str = "RAPL (package-0)"

    def mean_mw(self, work: Callable[[], object], seconds: float) -> float:  # noqa: ARG002
        work()
        return 5000.0 if "synchronized" in work.__qualname__ else 1000.0


@pytest.mark.parametrize("kind", SPECS)
def test_backbone_and_heads_by_themselves_give_what_the_network_gives(
    spec: Spec, images: torch.Tensor, kind: str
) -> None:
    made = build(SPECS[kind](spec)).eval()
    segments, heads = split_heads(made.graph)
    values, outputs = {segments[0].inputs[0]: images}, []
    for index, segment in enumerate(segments):
        values |= zip(segment.outputs, segment.run(made, *[values[name] for name in segment.inputs]), strict=True)
        for head in heads[index : index + 1]:
            outputs += head.run(made, *[values[name] for name in head.inputs])
    outputs.append(values[segments[-1].outputs[0]])
    assert len(outputs) == len(made.spec.exits) + 1
    assert all(torch.equal(one, other) for one, other in zip(outputs, made(images), strict=True))
    assert not any("exits" in name for segment in segments for name in segment.nodes)
    assert all(all("exits" in name or "edges" in name for name in head.nodes[:1]) for head in heads)


def test_parts_are_counted_in_the_order_in_which_they_run(spec: Spec) -> None:
    made = SPECS["pool"](spec)
    samples = samples_of(made, [float(index + 1) for index in range(8)])  # the eighth is the network in one go
    assert [one.name for one in samples] == PARTS
    assert [one.is_head for one in samples] == [name.startswith("head") for name in PARTS]
    assert [one.time_ms for one in samples] == [1, 2, 3, 4, 5, 6, 7]
    assert sum(one.macs for one in samples if not one.is_head) == workload(made).full_macs


def test_rounds_do_each_work_in_turn_and_warm_up_first() -> None:
    done: list[str] = []
    found = timing.timed([lambda: done.append("a"), lambda: done.append("b")], 0.001)
    assert found.ms.shape[1] == 2
    assert len(found.ms) >= timing.LEAST_ROUNDS
    assert found.warm_up >= 3
    assert done == ["a", "b"] * (found.warm_up + len(found.ms))
    assert (found.median_ms <= found.p95_ms).all()


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with timing.threads(before + 1) as count:
        assert (count, torch.get_num_threads()) == (before + 1, before + 1)
        assert torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == before


def test_a_quantised_network_runs_as_its_float_twin(spec: Spec, images: torch.Tensor) -> None:
    made = build(SPECS["quantised"](spec)).eval()
    twin = timing.float_network(made)
    assert twin.spec == without_quantizers(made.spec)
    assert not twin.training
    name = "stages.0.0.conv1"
    assert torch.equal(twin.layer(name).weight, made.layer(name).weight)
    assert len(twin(images)) == 4
    assert timing.float_network(twin) is twin


def measured(checkpoint: Path, **changes: object) -> MeasureResult:
    settings = {"meter": NoMeter("no meter here"), "window_s": 0.01, "say": lambda _: None, **changes}
    request = prepare(checkpoint, name="mine", threads=1, seconds=0.05)
    return measure(request, **settings)  # type: ignore[arg-type]


def test_a_run_gives_a_profile_that_the_energy_model_takes(checkpoint: Path, spec: Spec) -> None:
    done = coc("profiles", "measure", "run", "--seconds", "0.1", "--threads", "1", "--name", "mine")
    assert done.exit_code == 0, done.stderr
    profile = read_profile("mine.yaml")
    assert profile.measured
    assert [part.name for part in profile.measured.parts] == PARTS
    for part in profile.measured.parts:
        assert 0 < part.median_ms <= part.p95_ms
        assert f"{part.median_ms:.4g}" in done.stdout
    assert "batch 1, in turn: " in profile.measured.method
    assert profile.measured.machine.endswith(f", 1 thread, torch {torch.__version__}")
    assert shlex.split(profile.measured.command)[:4] == ["coc", "profiles", "measure", "run"]
    assert profile.measured.checkpoint == f"{checkpoint}, cifar:resnet20"
    model = EnergyModel(profile, workload(SPECS["pool"](spec)))
    told = sum(part.model_ms for part in profile.measured.parts)
    assert model.path_ms((0, 1, 2, 3))[-1] == pytest.approx(told, rel=1e-3)
    assert "the model is off by " in done.stdout
    assert done.stdout.splitlines()[-1] == "profile: mine.yaml   use: coc predict-exit run --profile mine.yaml"
    listed = coc("profiles", "mine.yaml")
    assert listed.exit_code == 0
    assert "mine" in listed.stdout


def test_without_a_meter_it_says_so_for_every_power(checkpoint: Path) -> None:
    profile = measured(checkpoint).profile
    assert profile.measured
    assert profile.measured.energy == "not measured: no meter here"
    assert all(part.energy_mj is None for part in profile.measured.parts)
    for name, number in profile.named_numbers():
        if "power" in name:
            assert number.source.startswith(NOT_MEASURED)


def test_with_a_meter_the_energy_of_each_part_is_what_it_adds(checkpoint: Path) -> None:
    profile = measured(checkpoint, meter=Steady()).profile
    assert profile.measured
    assert profile.measured.energy == "RAPL (package-0)"
    for part in profile.measured.parts:
        assert part.energy_mj == pytest.approx(4.0 * part.median_ms, rel=1e-4)
    assert profile.arithmetic["fp32"].dynamic_power_mw.value == pytest.approx(4000.0)
    assert (profile.static_power_mw.value, profile.idle_power_mw.value) == (1000.0, 1000.0)
    assert read_profile("mine.yaml") == profile


def test_a_made_up_machine_lends_its_name_and_levels(checkpoint: Path, tmp_path: Path) -> None:
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    cpufreq.mkdir(parents=True)
    (cpufreq / "scaling_cur_freq").write_text("1000000\n")
    (cpufreq / "scaling_available_frequencies").write_text("500000 1000000\n")
    (tmp_path / "cpuinfo").write_text("model name : Imagined(R) CPU 9\n")
    request = prepare(checkpoint, threads=1, seconds=0.05)
    outcome = measure(request, say=lambda _: None, sysfs=tmp_path / "sys", proc=tmp_path)
    assert (outcome.path, outcome.profile.name) == (Path("imagined-9-1t.yaml"), "imagined-9-1t")
    assert outcome.profile.frequency_mhz.values == (500.0, 1000.0)
    assert outcome.profile.measured
    assert outcome.profile.measured.energy == "not measured: neither RAPL nor INA3221 here"


@pytest.mark.parametrize("kind", ["without exits", "quantised"])
def test_other_networks(kind: str, spec: Spec, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(build(SPECS[kind](spec)), (), path)
    done = coc("profiles", "measure", path, "--seconds", "0.05", "--out", tmp_path / "deep/mine.yaml")
    assert done.exit_code == 0, done.stderr
    profile = read_profile(str(tmp_path / "deep/mine.yaml"))
    assert profile.measured
    if kind == "quantised":
        assert "its float twin was timed" in done.stdout
        assert "any times would fit" not in done.stdout
        assert "its float twin, as torch only imitates quantised numbers" in profile.measured.method
    else:
        assert [part.name for part in profile.measured.parts] == ["segment 0"]
        assert "these are too few parts to test the model: any times would fit" in done.stdout
        assert profile.arithmetic["fp32"].throughput_gmacs.source.endswith(
            "the times of 1 part, too few to test the model"
        )
        assert profile.overhead_us.source.startswith("not measured; assumed: as i7-10700")


WRONG = {
    "no such run": (["nowhere"], "nowhere: no such run directory or checkpoint"),
    "no run": (["empty"], "empty: is no run directory; name one that coc compress has finished"),
    "not a checkpoint": (["text.yaml"], "text.yaml: is a recipe; run coc compress on it first, and name its run directory"),
    "no thread": (["run", "--threads", "0"], "--threads: needs 1 or more, got 0"),
    "no time": (["run", "--seconds", "0"], "--seconds: needs a time above 0, got 0"),
    "time that is no number": (["run", "--seconds", "nan"], "--seconds: needs a time above 0, got nan"),
    "a name with a slash": (
        ["run", "--name", "My/CPU"],
        "--name: 'My/CPU' is none; use lower-case letters, digits and '-', a letter or digit first",
    ),
    "a name that is taken": (
        ["run", "--name", "cortex-m7"],
        "--name: 'cortex-m7' is a profile that comes with coc; choose another",
    ),
    "a directory": (["run", "--out", "empty"], "--out: empty is a directory; name a file in it"),
    "a file for a folder": (
        ["run", "--out", "text.yaml/mine.yaml"],
        "--out: text.yaml/mine.yaml cannot be written: HERE/text.yaml is not a directory",
    ),
    "an unknown base": (
        ["run", "--base", "i7-10701"],
        "--base: no such profile or file 'i7-10701'; did you mean 'i7-10700'?",
    ),
    "an unknown device": (["run", "--device", "gpu"], "--device: no such device 'gpu'; use auto, cpu, cuda or cuda:N"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_one_line(what: str, checkpoint: Path, tmp_path: Path) -> None:
    Path("empty").mkdir()
    Path("text.yaml").write_text("name: x\n")
    args, message = WRONG[what]
    done = coc("profiles", "measure", *args)
    assert done.stderr == message.replace("HERE", str(tmp_path)) + "\n"
    assert (done.exit_code, done.stdout) == (2, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run", "text.yaml"]
    assert checkpoint.exists()


def test_a_folder_without_permission(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UserError) as error:
        prepare(checkpoint, out=Path("locked/mine.yaml"))
    assert str(error.value) == f"--out: locked/mine.yaml cannot be written: no permission in {tmp_path}"


def test_the_list_is_what_comes_without_a_command(checkpoint: Path) -> None:
    assert checkpoint.exists()
    listed = coc("profiles")
    assert listed.exit_code == 0
    assert listed.stdout == coc("profiles", "list").stdout
    assert "jetson-tx2-gpu" in listed.stdout
    refused = coc("profiles", "nosuch.yaml", "--debug")
    assert refused.exit_code == 2
    assert "no such profile or file 'nosuch.yaml'" in refused.stderr


def test_help_names_both_without_torch() -> None:
    code = (
        "import sys; from coc_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    for args in (["profiles", "--help"], ["profiles", "measure", "--help"], ["profiles", "nosuch"]):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("2 False\n" if args[-1] == "nosuch" else "0 False\n")
        if args == ["profiles", "--help"]:
            assert all(word in done.stdout for word in ("[FILE]...", "measure RUN|CHECKPOINT", "list", "Commands"))
