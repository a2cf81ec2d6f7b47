"""The page: its numbers are report.json's, names stay text, nothing is loaded, and it is small and quickly fake_runs."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import fake_runs
import pytest

from coc_cli.report.charts.layers import matched
from coc_cli.report.charts.svg import Axis, decades
from coc_cli.report.delivery import deliver
from coc_cli.report.model import LayerView
from coc_cli.report.read.run import read_runs

EVIL = "<script>alert(1)</script>\"'&|`{{ 7 * 7 }}"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Finds the numbers of the stage table, all addresses, and tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stages: dict[int, dict[str, tuple[float, str]]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.unnamed: list[str] = []
        self._at: tuple[int, str] | None = None
        self._stage, self._value = -1, ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [
            value or "" for key, value in attrs if key in ("src", "href", "data", "action", "xlink:href")
        ]
        assert not any(key.startswith("on") for key in given), "no scripts"
        if tag in ("svg", "img") and not (given.get("aria-label") or given.get("alt")):
            self.unnamed.append(tag)
        if tag == "tr" and "data-stage" in given:
            self._stage = int(given["data-stage"] or -1)
            self.stages[self._stage] = {}
        if tag == "td" and "data-key" in given:
            self._at = (self._stage, given["data-key"] or "")
        if tag == "data":
            self._value = given["value"] or ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "td":
            self._at = None

    def handle_data(self, data: str) -> None:
        if self._at and self.open[-1] == "data":
            self.stages[self._at[0]][self._at[1]] = (float(self._value), data)


def page(*directories: Path) -> str:
    return Path(deliver(list(directories), "html", Path("page.html"))).read_text()


def test_its_numbers_are_those_of_the_report(small: Path) -> None:
    text = page(small)
    found = Page(text).stages
    assert len(found) == 3
    compare(found, json.loads((small / "report.json").read_text()))
    assert found[2]["bitops_ratio"][1] == "128.0x"
    assert found[1]["metric_value"][1] == "75.00%"
    assert found[2]["factor"] == (2.0, "2.00x")
    for words in ("measured", "counted", "model", "1.25 ms", "1 mJ", "limits met", "coc compress small.yaml"):
        assert words in text, words
    assert "-12.50 points (-37.02..+17.02)" in text


def compare(found: dict[int, dict[str, tuple[float, str]]], report: dict) -> None:
    """Check that every number of the stage table is that of report.json, to the last digit."""
    keys = ("metric_value", "macs", "bitops", "bitops_ratio", "bitops_ratio_nominal", "params", "checkpoint_bytes")
    seen = 0
    for stage in report["stages"]:
        for key in (*keys, "bytes_ratio", "seconds"):
            assert found[stage["index"]][key][0] == stage[key], key
            seen += 1
    for factor in report["factors"]:
        assert found[factor["index"]]["factor"][0] == factor["ratio"]
    assert seen >= 18


@pytest.mark.full
def test_the_quickstarts_page_has_the_quickstarts_numbers(quickstart: Path) -> None:
    text = (quickstart / "report.html").read_text()
    compare(Page(text).stages, json.loads((quickstart / "report.json").read_text()))
    assert "Missing here" not in text
    assert all(
        name in text for name in ("BitOps by stage", "Accuracy against BitOps", "Exits", "Layers before", "Training")
    )


def test_nothing_is_loaded_and_every_figure_has_words(small: Path, other: Path) -> None:
    for text in (page(small), page(small, other)):
        found = Page(text)
        assert found.tags.count("svg") >= 8
        assert found.unnamed == []
        assert "script" not in found.tags
        assert all(address.startswith("data:") for address in found.addresses), found.addresses
        assert not re.search(r"https?://|@import|url\(", text)
        for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            ET.fromstring(drawing)


def test_forecasts_show_curves_energy_and_inputs(small: Path) -> None:
    text = page(small)
    for words in (
        "Policies: accuracy against MACs",
        "Energy against accuracy",
        "How some inputs run",
        "idle power x 2",
        "a change takes long: one level is held",
        "names the exit rightly 87.5% of the time and is off by 0.25 exits",
        "2 mJ (1.75..2.25)\nthreshold under pace, one level",
        "1.5 mJ (1.25..1.75)\npredictive under pace",
        "1 mJ (0.75..1.25)\noracle under pace",
        "25.0% (20.0%..30.0%)",
        ">50% (40%..60%)<",
        "gap closed 50% (40%..60%)",
        "no gap, ours 12.5% more",
        "50.0% (37.5%..62.5%)",
        "1.25..1.75</td>",
        "leaves at exit 0 after 1 ms of 2 ms with 1 mJ (model) at 100 → 50 MHz",
        "goes to the final output, after 1 ms of 2 ms",
    ):
        assert words in text
    for kind in ("easy", "hard", "mispredicted"):
        assert f"{kind} · input" in text
    assert text.count(f"data:image/png;base64,{fake_runs.picture()}") == 3
    assert "Frequency over time of mispredicted input 2" in text
    assert "start 100 MHz 0.5 ms; predicted exit 2 50 MHz 0.5 ms; idle 50 MHz 1 ms" in text


def test_names_with_html_stay_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layers = [{**layer, "name": f"{EVIL}{index}"} for index, layer in enumerate(fake_runs.BASELINE["layers"])]
    stages = [{**fake_runs.BASELINE, "layers": layers}, {**fake_runs.EXITS, "index": 1, "name": EVIL, "layers": layers}]
    limits = [{"name": EVIL, "limit": 1.0, "value": 0.5, "ok": True}]
    content = fake_runs.report(
        EVIL, stages=stages, limits=limits, command=EVIL, environment={EVIL: EVIL}, metric=EVIL, task=EVIL
    )
    folder = fake_runs.run(Path("<b>run"), content)
    kind = {"input": 0, "kind": EVIL, "png": EVIL}
    row = {**fake_runs.row(EVIL, EVIL, 0.5, 1.0, 1.0), "energy_saving": -1.0}
    curves = [{"policy": EVIL, "points": [{"score": 0.5, "macs": 1.0}]}]
    schedule = {"policy": EVIL, "governor": EVIL}
    best = {"policy": EVIL, "governor": EVIL, "energy_mj_mean": 1.0}
    worth = {"passive": best, "ours": best, "oracle": best}
    fake_runs.forecast(
        folder / "predict-exit/<i>x",
        notes=[EVIL], deadlines=[{"deadline": EVIL, "worth": worth}], sensitivity=[{"change": EVIL, **worth}],
        savings=[{"policy": EVIL, "drop": 0.0}],
        profile=EVIL, deadline=EVIL, metric=EVIL, examples=[kind], policies=[row], curves=curves, not_applicable=[EVIL], schedule=schedule,
    )  # fmt: skip
    (folder / "predict-exit/<i>x/schedule.jsonl").write_text(json.dumps({**fake_runs.line(0, 2), "label": EVIL}) + "\n")
    (folder / "recipe.yaml").write_text(f"name: {json.dumps(EVIL)}\n{json.dumps(EVIL)}: {json.dumps(EVIL)}\n")
    plain = fake_runs.run(Path("plain"))
    for text in (page(folder), page(folder, plain)):
        assert "<script" not in text
        assert "<b>" not in text
        assert "<i>" not in text
        assert "49" not in re.sub(r'"[^"]*"', "", text.split("<h1>")[1].split("</h1>")[0])
        Page(text)
    for directories in ([folder], [folder, plain]):
        comment = str(deliver(directories, "md", None))
        assert "<" not in comment
        for line in comment.splitlines():
            if line.startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", line)) == (9 if len(directories) == 1 else 11), line


def test_equal_runs_give_equal_pages(small: Path) -> None:
    assert page(small) == page(small)


def big(folder: Path, name: str, stages: int, *, layers: int, epochs: int, exits: int) -> Path:
    """Write a run of a deep network with many exits, trained for long."""
    rows = [
        {"name": f"stages.{n // 9}.{n % 9}.conv", "macs": 1000 + n, "params": 9, "weight_bits": 32, "activation_bits": 32, "bitops": 1e6 + n}
        for n in range(layers)
    ]  # fmt: skip
    places = [
        {"index": n, "share": 1 / exits, "metric_value": 0.9, "metric_all": 0.5 + n / exits / 2} for n in range(exits)
    ]
    each = [
        {
            **fake_runs.BASELINE,
            "index": n,
            "name": f"prune{n}",
            "bitops": 3e9 / 3**n,
            "layers": rows,
            "exits": places if n else [],
        }
        for n in range(stages)
    ]
    factors = [{"index": n, "name": f"prune{n}", "ratio": 3.0} for n in range(1, stages)]
    return fake_runs.run(folder, fake_runs.report(name, stages=each, factors=factors), epochs=epochs)


def test_a_deep_network_with_many_exits_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = big(Path("deep"), "deep", 6, layers=120, epochs=60, exits=30)
    for profile in ("a", "b", "c", "d"):
        png = "A" * 12_000
        examples = [{"input": n, "kind": "hard", "png": png} for n in range(6)]
        fake_runs.forecast(folder / "predict-exit" / profile, exits=30, examples=examples)
    text = page(folder)
    assert len(text.encode()) < 500_000
    assert "image left out" in text, "the images of the later devices"


@pytest.mark.full
def test_twenty_runs_of_six_stages_take_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [big(Path(f"r{n}"), f"run {n}", 6, layers=60, epochs=60, exits=10) for n in range(20)]
    began = time.process_time()
    text = page(*folders)
    assert time.process_time() - began < 10
    assert len(text.encode()) < 500_000
    assert text.count("data-stage=") == 120
    Page(text)


def test_layers_stand_side_by_side_by_name() -> None:
    def named(*names: str) -> tuple[LayerView, ...]:
        return tuple(LayerView(name, 1, 1, 1, 8, 8) for name in names)

    rows = matched(named("a", "b", "c"), named("a", "exit", "c", "d"))
    assert [(b.name if b else None, a.name if a else None) for b, a in rows] == [
        ("a", "a"),
        (None, "exit"),
        ("b", None),
        ("c", "c"),
        (None, "d"),
    ]


def test_a_network_with_other_layers_is_two_lists(small: Path) -> None:
    layers = [{**layer, "name": f"student.{layer['name']}"} for layer in fake_runs.QUANTIZE["layers"]]
    (small / "report.json").write_text(
        json.dumps(fake_runs.report(stages=[fake_runs.BASELINE, {**fake_runs.QUANTIZE, "layers": layers}]))
    )
    text = page(small)
    assert "Layers before: baseline" in text
    assert "Layers after: quantize" in text


def test_scales() -> None:
    assert Axis(0, 1, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis(0.93, 1.0, 0, 100).ticks(4) == pytest.approx([0.94, 0.96, 0.98, 1.0])
    log = decades([2e3, 3e6], 0, 80)
    assert (log.low, log.high, log(1e3), log(1e5), log(1e9)) == (1e3, 1e7, 0.0, 40.0, 80.0)
    assert log.ticks() == pytest.approx([1e3, 1e4, 1e5, 1e6, 1e7])
    assert decades([3.0, 4.0], 0, 1).ticks() == pytest.approx([1, 2, 5, 10])
    assert Axis(5, 5, 0, 100)(5) == 50.0


def test_runs_side_by_side(small: Path, other: Path) -> None:
    text = page(small, other)
    assert "2 runs compared" in text
    for cell in ("-50.00 points", "apart", "2x more", "the same", "chain.0.quantize.weights", "another seed than"):
        assert cell in text, cell
    assert [run.label for run in read_runs([small, other])] == ["small", "other"]
