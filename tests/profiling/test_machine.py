"""The processor's name and clock, from a made-up /sys and /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from coc_cli.profiling.machine import Clock, processor_name, read_clock, slug


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_fastest_processor_tells_frequency_and_levels(tmp_path: Path) -> None:
    little, big = (f"devices/system/cpu/cpu{index}/cpufreq" for index in (0, 1))
    put(
        tmp_path,
        {
            f"{little}/scaling_cur_freq": "345600\n",
            f"{little}/scaling_available_frequencies": "345600 499200 \n",
            f"{big}/scaling_cur_freq": "1881600\n",
            f"{big}/scaling_available_frequencies": "2035200 1881600 652800 \n",
        },
    )
    assert read_clock(tmp_path, tmp_path) == Clock(1881.6, "cpufreq", (652.8, 1881.6, 2035.2))


def test_levels_may_not_be_listed(tmp_path: Path) -> None:
    put(tmp_path, {"devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2900000\n"})
    assert read_clock(tmp_path, tmp_path) == Clock(2900.0, "cpufreq", ())


def test_cpuinfo_stands_in(tmp_path: Path) -> None:
    text = "processor : 0\nmodel name\t: Intel(R) Core(TM) i7-10700 CPU @ 2.90GHz\ncpu MHz\t\t: 2904.000\ncpu MHz\t\t: 800.1\n"
    put(tmp_path, {"cpuinfo": text})
    assert read_clock(tmp_path, tmp_path) == Clock(2904.0, "/proc/cpuinfo", ())
    assert processor_name(tmp_path) == "Intel(R) Core(TM) i7-10700 CPU @ 2.90GHz"


def test_nothing_is_known(tmp_path: Path) -> None:
    assert read_clock(tmp_path, tmp_path) == Clock()
    assert processor_name(tmp_path)


def test_a_board_has_a_name(tmp_path: Path) -> None:
    put(tmp_path, {"cpuinfo": "processor : 0\n", "device-tree/model": "NVIDIA Jetson TX2 Developer Kit\0"})
    assert processor_name(tmp_path) == "NVIDIA Jetson TX2 Developer Kit"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Intel(R) Core(TM) i7-10700 CPU @ 2.90GHz", "intel-core-i7-10700"),
        ("AMD EPYC 7763 64-Core Processor", "amd-epyc-7763-64-core"),
        ("...", "machine"),
    ],
)
def test_names_of_profiles(name: str, short: str) -> None:
    assert slug(name) == short
