"""Every number in a recipe or a profile has bounds, and every name a length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import coc
from tiny import TINY_RECIPE

from coc_cli.dvfs.profile import Profile, read_profile, shipped
from coc_cli.errors import UserError
from coc_cli.recipe.model import schema

LOW, HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
FREE = "args"  # of an architecture, whose maker says what it takes
EXITS = TINY_RECIPE.replace("precision:", "  - early_exit: {every: block, epochs: 1}\nprecision:")


def unbounded(part: Any, place: str = "") -> Iterator[str]:
    """Yield where in a JSON Schema a number lacks a bound."""
    if isinstance(part, list):
        for inner in part:
            yield from unbounded(inner, place)
    elif isinstance(part, dict) and not place.endswith(f".{FREE}"):
        if part.get("type") in ("number", "integer") and not part.keys() & {"enum", "const"}:
            yield from [place] if not (any(key in part for key in LOW) and any(key in part for key in HIGH)) else []
        for key, inner in part.items():
            yield from unbounded(inner, f"{place}.{key}")


def test_every_number_has_two_bounds() -> None:
    assert list(unbounded(schema())) == []
    assert list(unbounded(Profile.model_json_schema())) == []
    assert list(unbounded({"a": {"type": "number", "minimum": 0}})) == [".a"]


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("name", "a" * 101, "needs at most 100 characters, got 101"),
        ("data.limit", "1000000001", "needs at most 1000000000, got 1000000001"),
        ("data.classes", "99999999999", "needs at most 100000, got 99999999999"),
        ("data.augment.rotate", "181", "needs at most 180, got 181"),
        ("model.depth", "2006", "needs at most 2000, got 2006"),
        ("model.width", "4097", "needs at most 4096, got 4097"),
        ("model.train.lr", "101", "needs at most 100, got 101"),
        ("model.train.lr", "0", "needs more than 0, got 0"),
        ("model.train.weight_decay", "101", "needs at most 100, got 101"),
        ("model.train.epochs", "1000001", "needs at most 1000000, got 1000001"),
        ("chain.0.distill.feature_weight", "1e7", "needs at most 1000000, got 10000000.0"),
        ("chain.0.distill.temperature", "1e-3", "needs at least 0.01, got 0.001"),
        ("chain.0.distill.temperature", "1001", "needs at most 1000, got 1001"),
        ("chain.0.distill.kd_weight", "1.5", "needs at most 1, got 1.5"),
        ("chain.2.early_exit.max_drop", "1e13", "needs at most 1e+12, got 10000000000000.0"),
        ("chain.2.early_exit.exits", "1001", "needs at most 1000, got 1001"),
        ("limits.max_drop", "-1e13", "needs at least -1e+12, got -10000000000000.0"),
        ("limits.min_bitops_ratio", "1e10", "needs at most 1000000000, got 10000000000.0"),
        ("limits.max_bytes", f"{10**16}", f"needs at most 1e+15, got {10**16}"),
    ],
)  # fmt: skip
def test_a_number_out_of_its_bounds_is_one_line(
    key: str, value: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(EXITS)
    said = coc("plan", "r.yaml", "--set", f"{key}={value}", code=2).stderr.splitlines()
    place = key.replace(".0.", "[0].").replace(".2.", "[2].")
    assert f"--set {key}={value}: {place}: {what}" in said


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("chain.2.early_exit.loss_weights", "[1, 1e7]", "chain[2].early_exit.loss_weights[1]: needs at most 1000000, got 10000000.0"),
        ("predict_exit.deadline", "0.0x", "predict_exit.deadline: needs a time above 0, got '0.0x'"),
        ("predict_exit.deadline", "1" * 400 + "x", "predict_exit.deadline: needs a time as 12ms or 1.25x, got '" + "1" * 296 + "..."),
    ],
)  # fmt: skip
def test_a_list_or_a_text_out_of_its_bounds_is_one_line(
    key: str, value: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(EXITS)
    said = coc("plan", "r.yaml", "--set", f"{key}={value}", code=2).stderr.splitlines()
    assert f"--set {key}={value}: {what}" in said


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("name: cortex-m7", f"name: {'a' * 101}", f"name: string should have at most 100 characters, got '{'a' * 101}'"),
        ("name: cortex-m7", 'name: "a\\e[2J"', "name: string should match pattern '^[a-z0-9][a-z0-9-]*$', got 'a\\x1b[2J'"),
        ("idle_power_mw: {value: 15,", "idle_power_mw: {value: 1e300,", "idle_power_mw.value: input should be less than or equal to 1000000000000000, got 1e+300"),
        ("values: [60, 120,", "values: [1e-300, 120,", "frequency_mhz.values[0]: input should be greater than or equal to 0.000000001, got 1e-300"),
        ("value: 15, source: assumed", f"value: 15, source: {'b' * 1001}", f"idle_power_mw.source: string should have at most 1000 characters, got '{'b' * 296}..."),
    ],
)  # fmt: skip
def test_a_profile_out_of_its_bounds_is_one_line(before: str, after: str, what: str, tmp_path: Path) -> None:
    import coc_cli.dvfs

    text = (Path(coc_cli.dvfs.__file__).parent / "profiles/cortex-m7.yaml").read_text()
    assert text.count(before) == 1
    path = tmp_path / "p.yaml"
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError) as error:
        read_profile(str(path))
    assert str(error.value).partition(": ")[2] == what


def test_the_bounds_are_in_the_way_of_no_shipped_profile() -> None:
    assert all(read_profile(name).name == name for name in shipped())
