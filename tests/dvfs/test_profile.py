"""Profiles: those that come with coc, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from coc_cli.dvfs.profile import read_profile, shipped
from coc_cli.errors import UserError

PROFILES = Path(__file__).resolve().parent.parent.parent / "coc_cli/dvfs/profiles"


def test_the_shipped_ones_are_sound_and_name_their_sources() -> None:
    assert shipped() == ["cortex-m7", "i7-10700", "jetson-tx2-cpu", "jetson-tx2-gpu"]
    for name in shipped():
        profile = read_profile(name)
        assert profile.name == name
        assert profile.levels == len(profile.voltage_mv.values) > 3


WRONG = {
    "unsorted levels": ("values: [60, 120, 240, 480]", "values: [60, 240, 120, 480]", "frequency_mhz.values: levels must rise from each to the next"),
    "a level short": ("values: [1000, 1000, 1100, 1350]", "values: [1000, 1100, 1200]", "voltage_mv.values: has 3 levels, frequency_mhz has 4"),
    "falling voltage": ("values: [1000, 1000, 1100, 1350]", "values: [1000, 1100, 900, 1350]", "voltage_mv.values: a faster level cannot have a lower voltage"),
    "negative power": ("static_power_mw: {value: 30,", "static_power_mw: {value: -30,", "static_power_mw.value: input should be greater than or equal to 0, got -30"),
    "no source": ("idle_power_mw: {value: 15, source: assumed}", "idle_power_mw: {value: 15}", "idle_power_mw.source: field required, got {'value': 15}"),
    "no fp32": ("  fp32:\n", "  fp16:\n", "arithmetic: needs fp32; fp16 and int8 run as the next wider kind where they are missing"),
    "unknown key": ("description: a", "speed: 3\ndescription: a", "speed: extra inputs are not permitted, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_profile_is_one_line(what: str, tmp_path: Path) -> None:
    before, after, message = WRONG[what]
    text = (PROFILES / "cortex-m7.yaml").read_text()
    assert text.count(before) == 1
    path = tmp_path / "p.yaml"
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError) as error:
        read_profile(str(path))
    line = str(error.value)
    assert line.startswith(f"{path}:")
    assert line.endswith(message), line
    assert "\n" not in line


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="no such profile or file 'jetson-tx2-gpx'; did you mean 'jetson-tx2-gpu'"):
        read_profile("jetson-tx2-gpx")


def test_fewer_bits_run_as_the_next_wider_kind() -> None:
    gpu = read_profile("jetson-tx2-gpu")
    assert gpu.arithmetic_for("int8") is gpu.arithmetic["fp16"]
    assert gpu.arithmetic_for("fp32") is gpu.arithmetic["fp32"]


def test_profiles_are_plain_yaml() -> None:
    for path in PROFILES.glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem
