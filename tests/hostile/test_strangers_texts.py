"""What a stranger wrote is only shown: it steers no terminal, is no markup, and no spreadsheet computes it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import coc
from fake_runs import BASELINE, report, run
from tiny import TINY_RECIPE

from coc_cli.dvfs.schedule import as_csv
from coc_cli.errors import user_error
from coc_cli.nets.checkpoint import save
from coc_cli.nets.checkpoint_header import Ancestor
from coc_cli.nets.network import Network
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.report.texts import escaped
from coc_cli.units import printable, spreadsheet_cell

Write = Callable[[str], Path]
STEERING = "a\x1b[2J\x07\r\nb\x9b31m\u202ec\x00\x7f"
NET = """\
from torch import nn

def net(**_):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
"""


def test_text_is_one_line_without_what_steers() -> None:
    assert printable(STEERING) == "a?[2J???b?31m?c??"
    assert printable("größe 10 µs, \ud800") == "größe 10 µs, ?"


def test_errors_tables_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(f"title [red]{STEERING}", "name", "value")
    table.add_row(f"[bold]{STEERING}[/bold]", "1")
    print_table(table)
    print_line(STEERING)
    shown = capsys.readouterr().out + str(user_error(STEERING, STEERING))
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    assert "[red]" in shown
    assert "[bold]" in shown


def test_inspect_shows_a_lineage_and_nothing_else(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(network, (Ancestor(stage=STEERING, settings={}, key=""),), tmp_path / "m.safetensors")
    said = coc("inspect", "m.safetensors").stdout
    assert "lineage: a?[2J???b?31m?c??\n" in said
    assert all(sign.isprintable() or sign == "\n" for sign in said)


@pytest.mark.parametrize("form", ["terminal", "md", "csv"])
def test_reports_of_names_that_steer(tmp_path: Path, form: str) -> None:
    content = report(STEERING, command=STEERING, metric=STEERING)
    content["stages"] = [BASELINE, {**BASELINE, "index": 1, "name": STEERING}]
    folder = tmp_path / "odd\x1b[31m"
    run(folder, {**content, "stages": []})
    (folder / "report.json").write_text(json.dumps(content))
    said = coc("report", folder, "--format", form).stdout
    assert all(sign.isprintable() or sign == "\n" for sign in said)


def test_markdown_has_no_markup_of_a_stranger() -> None:
    assert escaped(f"<b>[x](y) @me | {STEERING}") == ("&lt;b&gt;\\[x\\](y) &#64;me \\| a?\\[2J? b?31m?c??")


@pytest.mark.parametrize("first", list("=+-@") + ["\t", "\r"])
def test_cells_that_a_spreadsheet_would_compute(first: str) -> None:
    assert spreadsheet_cell(f"{first}cmd|' /C calc'!A0") == f"'{first}cmd|' /C calc'!A0"
    assert spreadsheet_cell("plain") == "plain"
    for number in (-1.5, -3, 0, None):
        assert spreadsheet_cell(number) is number


def test_a_csv_report_keeps_numbers_and_disarms_texts(tmp_path: Path) -> None:
    content = report("=HYPERLINK(1)")
    content["stages"] = [
        {**BASELINE, "name": "@SUM(1)"},
        {**BASELINE, "index": 1, "name": "quantize", "metric_value": 0.5},
    ]
    folder = run(tmp_path / "odd", content)
    rows = list(csv.DictReader(io.StringIO(coc("report", folder, "--format", "csv").stdout)))
    assert (rows[0]["run"], rows[0]["name"]) == ("'=HYPERLINK(1)", "'@SUM(1)")
    assert float(rows[1]["metric_change"]) == -0.375


def test_a_schedule_disarms_texts_and_keeps_numbers() -> None:
    segment = {"from": 0, "latency_ms": -1.5, "reason": "=HYPERLINK(1)"}
    rows = list(csv.DictReader(io.StringIO(as_csv([{"input": 3, "segments": [segment]}]))))
    assert rows == [{"input": "3", "from": "0", "latency_ms": "-1.5", "reason": "'=HYPERLINK(1)"}]


def test_the_plan_says_whose_code_runs(recipe: Write) -> None:
    text = TINY_RECIPE.replace("arch: cifar:resnet20\n  depth: 8\n  width: 4", "arch: file:net.py:net")
    path = recipe(text.replace("student: {width: 2}", "student: {arch: 'file:net.py:net'}"))
    Path("net.py").write_text(NET)
    assert coc("plan", path).stdout.startswith("runs the code in 'net.py', which the recipe names\n")
    assert coc("plan", recipe()).stderr == ""
