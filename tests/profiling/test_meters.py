"""Power meters in a made-up /sys: what is found, what is read, and why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coc_cli.profiling import meters
from coc_cli.profiling.meters import Counter, Ina3221, NoMeter, Rapl, find_meter, passed_uj

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a made-up root, and give it."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path / "sys"

    return write


def zone(place: str, name: str, energy_uj: int = 0, range_uj: int = 1_000_000) -> dict[str, str]:
    base = f"class/powercap/{place}"
    return {
        f"{base}/name": name,
        f"{base}/energy_uj": str(energy_uj),
        f"{base}/max_energy_range_uj": str(range_uj),
    }


RAPL = {
    **zone("intel-rapl:0", "package-0", 999_000),
    **zone("intel-rapl:0:0", "core"),
    **zone("intel-rapl:0:1", "dram", 5_000),
    **zone("intel-rapl:1", "psys"),
    **zone("intel-rapl-mmio:0", "package-0"),
}


def test_nothing_is_there(tree: Tree) -> None:
    assert find_meter(tree({"class/hwmon/hwmon0/name": "coretemp"})) == NoMeter("neither RAPL nor INA3221 here")


def test_packages_and_memory_count_once(tree: Tree) -> None:
    found = find_meter(tree(RAPL))
    assert isinstance(found, Rapl)
    assert found.name == "RAPL (package-0, package-0 dram)"
    assert [counter.range_uj for counter in found.counters] == [1_000_000] * 2


def test_a_counter_may_begin_at_0_again() -> None:
    counter = Counter("package-0", Path("energy_uj"), 1_000_000)
    assert passed_uj(300, 700, counter) == 400
    assert passed_uj(999_000, 4_000, counter) == 5_000


def test_energy_by_time_is_power(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(RAPL)
    found = find_meter(root)
    assert isinstance(found, Rapl)
    clock = iter((10.0, 10.0, 11.0, 12.0, 12.0))  # two turns of a second each, within two seconds
    monkeypatch.setattr(meters.time, "monotonic", lambda: next(clock))
    turns = []

    def work() -> None:
        turns.append(1)
        for counter, value in zip(found.counters, (4_000 if len(turns) == 2 else 999_500, 5_000), strict=True):
            counter.path.write_text(str(value))

    assert found.mean_mw(work, 2.0) == pytest.approx(5_000 / 2 / 1e3)  # uJ in 2 s
    assert len(turns) == 2


def test_a_counter_that_only_root_reads(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root, reading = tree(RAPL), Path.read_text

    def refused(path: Path, encoding: str | None = None) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return reading(path, encoding)

    monkeypatch.setattr(Path, "read_text", refused)
    path = root / "class/powercap/intel-rapl:0/energy_uj"
    assert find_meter(root) == NoMeter(f"{path} is there, but may not be read; often root may")


def test_a_counter_that_holds_no_number(tree: Tree) -> None:
    root = tree({**RAPL, "class/powercap/intel-rapl:0/energy_uj": ""})
    found = find_meter(root)
    assert isinstance(found, NoMeter)
    assert "intel-rapl:0/energy_uj is there, but cannot be read: could not convert" in found.reason


def test_rapl_does_not_see_a_gpu(tree: Tree) -> None:
    assert find_meter(tree(RAPL), for_gpu=True) == NoMeter("no INA3221 here, and RAPL does not see the GPU")


IIO = "bus/i2c/drivers/ina3221x/0-0041/iio:device1"
HWMON = {
    "class/hwmon/hwmon2/name": "ina3221",
    "class/hwmon/hwmon2/in1_label": "VDD_GPU_SOC",
    "class/hwmon/hwmon2/in1_input": "5000",
    "class/hwmon/hwmon2/curr1_input": "400",
    "class/hwmon/hwmon2/in2_label": "VDD_CPU_CV",
    "class/hwmon/hwmon2/in2_input": "4000",
    "class/hwmon/hwmon2/curr2_input": "250",
    "class/hwmon/hwmon2/in4_input": "9000",  # the sum of the others
    "class/hwmon/hwmon2/curr4_input": "650",
}


@pytest.mark.parametrize("for_gpu", [False, True])
def test_the_rail_of_the_whole_module_is_taken_alone(tree: Tree, for_gpu: bool) -> None:
    rails = {"rail_name_0": "VDD_SYS_GPU", "in_power0_input": "700", "rail_name_1": "VDD_IN", "in_power1_input": "3100"}
    found = find_meter(tree({f"{IIO}/{name}": text for name, text in rails.items()}), for_gpu=for_gpu)
    assert isinstance(found, Ina3221)
    assert found.name == "INA3221 (VDD_IN)"
    assert found.mean_mw(lambda: time.sleep(0.001), 0.01) == pytest.approx(3100)


def test_volts_times_amperes_are_summed_over_rails(tree: Tree) -> None:
    found = find_meter(tree(HWMON))
    assert isinstance(found, Ina3221)
    assert found.name == "INA3221 (VDD_GPU_SOC, VDD_CPU_CV)"
    assert found.mean_mw(lambda: time.sleep(0.001), 0.01) == pytest.approx(5 * 400 + 4 * 250)


def test_power_is_read_again_and_again(tree: Tree) -> None:
    root = tree({f"{IIO}/in_power0_input": "1000"})
    found, turns = find_meter(root), []
    assert isinstance(found, Ina3221)

    def work() -> None:
        turns.append(1)
        time.sleep(meters.SAMPLE_S)
        (root / IIO / "in_power0_input").write_text("1000" if len(turns) % 2 else "3000")

    mean = found.mean_mw(work, 10 * meters.SAMPLE_S)
    assert 1500 < mean < 2500, "the mean of what alternates"
