"""Markdown, CSV and the model as JSON against golden files; how runs differ; what is refused."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import fake_runs
import pytest
from command_line import coc

from coc_cli.errors import UserError
from coc_cli.report import wording
from coc_cli.report.comparison import differences, front, settings
from coc_cli.report.delivery import deliver
from coc_cli.report.read.run import read_runs
from coc_cli.report.texts import escaped

GOLDEN = Path(__file__).parent / "golden"


def text(directories: list[Path], form: str) -> str:
    given = deliver(directories, form, None)
    assert isinstance(given, str)
    return given


@pytest.mark.parametrize("form", ["md", "csv", "json", "terminal"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_texts_are_as_the_golden_files_say(name: str, form: str, small: Path, other: Path) -> None:
    directories = [small] if name == "one" else [small, other]
    assert text(directories, form) == (GOLDEN / f"{name}.{form}").read_text()


def test_a_latency_of_an_older_file_is_its_wall_time(small: Path) -> None:
    content = json.loads((small / "report.json").read_text())
    old = {"median": 1.25, "p95": 1.5, "threads": 2, "batch": 1, "runtime": "onnxruntime"}
    content["stages"][-1]["latency_ms"] = old
    (small / "report.json").write_text(json.dumps(content))
    [run] = read_runs([small])
    said = "1.25 ms median, 1.5 ms p95 (onnxruntime, 2 threads, batch 1; measured)"
    assert (wording.latency(run.last), run.missing) == (said, ())
    page = deliver([small], "html", small / "page.html")
    assert "1.25 ms" in page.read_text()
    assert "Latency (measured)" not in page.read_text()


def test_a_busy_machine_is_said_wherever_the_latency_is(small: Path) -> None:
    content = json.loads((small / "report.json").read_text())
    content["stages"][-1]["latency_ms"]["busy"] = True
    content["limits"] = [{"name": "min_speedup", "limit": 2, "value": 4.0, "ok": False, "decided": False}]
    content["ok"] = False
    (small / "report.json").write_text(json.dumps(content))
    for form in ("md", "terminal"):
        assert "busy machine: only CPU times can be compared" in " ".join(text([small], form).split())
        assert "min_speedup 2: 4, not decided" in text([small], form).replace("\\", "")
    page = deliver([small], "html", small / "page.html").read_text()
    assert "Measured on a <strong>busy machine: only CPU times can be compared</strong>." in page
    assert read_runs([small])[0].verdict == "not decided: busy machine"


def test_csv_has_a_row_a_stage_with_the_reports_numbers(small: Path, other: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(text([small, other], "csv"))))
    assert [(row["run"], row["name"]) for row in rows] == [
        ("small", "baseline"),
        ("small", "quantize"),
        ("small", "early_exit"),
        ("other", "baseline"),
        ("other", "quantize"),
    ]
    for row, stage in zip(rows, fake_runs.report()["stages"], strict=False):
        for key in ("metric_value", "bitops", "macs", "checkpoint_bytes", "bitops_ratio", "bytes_ratio", "seconds"):
            assert float(row[key]) == stage[key], key


def test_markdown_fits_a_comment(small: Path, other: Path) -> None:
    assert len(text([small], "md").splitlines()) < 20
    assert len(text([small, other], "md").splitlines()) < 20


def test_runs_differ_from_the_first(small: Path, other: Path) -> None:
    [found] = differences(read_runs([small, other]))
    assert (found.reference, found.run) == ("small", "other")
    assert found.metric_difference == 0.25 - 0.75
    assert found.intervals_overlap is False, "0.2..0.4 and 0.409..0.929"
    assert (found.bitops_ratio, found.bytes_ratio) == (0.5, 1.0)
    assert found.notes == ("another seed than the first run's, so other test images if the split is drawn",)
    keys = {setting.key: setting.values for setting in settings(read_runs([small, other]))}
    assert keys == {
        "seed": ("3", "4"),
        "chain.0.quantize.weights": ("4", "2"),
        "chain.1.early_exit.exits": ("1", None),
    }


def test_the_front_holds_what_nothing_beats(small: Path, other: Path) -> None:
    found = [(run.label, stage.name) for run, stage in front(read_runs([other, small]))]
    assert found == [("small", "early_exit"), ("other", "baseline")]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"task": "regression", "metric": "mae"}, "not compared: mae of regression against accuracy of classification"),
        ({"stages": [{**fake_runs.BASELINE, "n_test": 9}]}, "not compared: 9 test images against 8"),
    ],
)
def test_what_cannot_be_compared_is_said(changes: dict, note: str, small: Path) -> None:
    unlike = fake_runs.run(Path("unlike"), fake_runs.report("unlike", **changes))
    [found] = differences(read_runs([small, unlike]))
    assert (found.metric_difference, found.intervals_overlap) == (None, None)
    assert found.notes[0] == note
    assert note in text([small, unlike], "md")


def test_other_images_are_not_compared(small: Path) -> None:
    unlike = fake_runs.run(Path("unlike"), fake_runs.report("unlike"))
    recipe = unlike / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("digits", "torchvision:MNIST"))
    [found] = differences(read_runs([small, unlike]))
    assert found.notes == ("not compared: images of torchvision:MNIST against digits",)


def test_energies_are_compared_under_the_same_deadline(small: Path, other: Path) -> None:
    fake_runs.forecast(other / "predict-exit/cortex-m7", policies=[fake_runs.row("predictive", "pace", 0.75, 1.0, 4.0)])
    assert differences(read_runs([small, other]))[0].energy_ratio == 0.25
    assert "4x more" in text([small, other], "terminal")


def test_the_change_is_paired_over_the_same_images(small: Path) -> None:
    [run] = read_runs([small])
    change = run.stages[1].change
    assert change is not None
    assert change.value == -0.125
    # one image of eight lost: cells 0.5 and 1.5 of 10 (Agresti and Min 2005): -0.1 +- 1.959964 sqrt(2 - 1 / 10) / 10
    assert change.ci95 == pytest.approx((-0.1 - 0.270162, -0.1 + 0.270162), abs=1e-6)


def test_runs_of_one_name_are_told_apart_by_their_place(small: Path) -> None:
    fake_runs.run(Path("again"), fake_runs.report("small"))
    assert [run.label for run in read_runs([small, Path("again")])] == ["small", "again"]
    assert text([small, Path("again")], "md").startswith("### coc report: 2 runs, against small\n")


def test_markdown_shows_names_as_they_are() -> None:
    assert escaped("a|b `c` <b>&\n*d* [e](f) @g _h_ i_j") == (
        r"a\|b \`c\` &lt;b&gt;&amp; \*d\* \[e\](f) &#64;g \_h\_ i_j"
    )


def test_figures_in_words() -> None:
    assert [wording.against(n) for n in (None, 1.001, 1346.9, 2.0, 0.25, 0.0005)] == [
        wording.NONE, "the same", "1347x fewer", "2x fewer", "4x more", "2000x more"
    ]  # fmt: skip
    assert [wording.times(n) for n in (1.0, 1208.44, 0.5)] == ["1.00x", "1208.4x", "0.5x"]
    assert (wording.points("accuracy", -0.0125), wording.points("mae", 0.5)) == ("-1.25 points", "+0.5")
    assert (wording.less(0.25), wording.less(-0.25)) == ("25.0% less", "25.0% more")
    assert (wording.interval("mae", (1.0, 2.0)), wording.interval("accuracy", (0.9, 1.0))) == ("1..2", "90.0%..100.0%")


WRONG = {
    "no such directory": ((["nowhere"], "terminal"), "nowhere: no such run directory; there are: small"),
    "nearly a directory": ((["smal"], "terminal"), "smal: no such run directory; did you mean 'small'?"),
    "no runs beside it": ((["empty/nowhere"], "terminal"), "empty/nowhere: no such run directory"),
    "the folder of the runs": ((["."], "html"), ".: is no run directory; the runs in it: small"),
    "one run twice": ((["small", "./empty/../small"], "html"), "empty/../small: is given twice; name each run once"),
    "a file": ((["file"], "terminal"), "file: is a file; give the run directory that holds it"),
    "nothing in it": ((["empty"], "md"), "empty: is no run directory; no report.json, stages or predict-exit.json in it"),
    "all at once": (
        (["nowhere", "small", "file"], "csv"),
        "nowhere: no such run directory; there are: small\nfile: is a file; give the run directory that holds it",
    ),
    "a format": ((["small"], "htm"), "--format: no such format 'htm'; did you mean 'html'?"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_said(what: str, small: Path) -> None:
    Path("empty").mkdir()
    Path("file").write_text("")
    (names, form), message = WRONG[what]
    with pytest.raises(UserError) as refused:
        deliver([Path(name) for name in names], form, None)
    assert str(refused.value) == message
    assert small.is_dir()


def test_a_file_that_cannot_be_written_is_said(small: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(UserError, match=r"file/page\.html: cannot be written: "):
        deliver([small], "html", Path("file/page.html"))
    with pytest.raises(UserError, match=r"^--out: 'small' is a directory; name the file, e\.g\. small/report\.txt$"):
        deliver([small], "terminal", Path("small"))
    assert not [path for path in small.parent.iterdir() if path.name.startswith(".")], "nothing is left behind"


def test_names_are_one_line_that_steers_no_terminal(small: Path) -> None:
    name = "a\nb\x1b[31m [red]" + "c" * 100
    folder = fake_runs.run(Path("odd"), fake_runs.report(name, command="coc\x1b[2J"))
    for form in ("terminal", "md"):
        assert "\x1b" not in text([folder, small], form)
    [run] = read_runs([folder])
    assert run.name == name.replace("\n", "?").replace("\x1b", "?")
    assert run.label == f"a?b?[31m [red]{'c' * 17}…{'c' * 32}"
    assert run.command == "coc?[2J"


def test_the_verb_prints_or_writes(small: Path, other: Path) -> None:
    assert coc("report", "small", "--format", "md").stdout == text([small], "md")
    assert coc("report", "small", "--format", "json", "--out", "x/y.json").stdout == "report: x/y.json\n"
    assert json.loads(Path("x/y.json").read_text())["schema"] == 1
    assert coc("report", "small", "--format", "html").stdout == "report: small/report.html\n"
    assert coc("report", "small", "other", "--format", "html").stdout == "report: report.html\n"
    assert "LIMIT MISSED" in coc("report", other).stdout, "a missed limit is news, not a fault of the report"
    assert coc("report", "q", code=2).stderr == "q: no such run directory; there are: other, small\n"


@pytest.mark.full
def test_text_needs_neither_torch_nor_the_page(small: Path) -> None:
    code = (
        "import sys; sys.argv = ['coc', 'report', 'small', '--format', sys.argv[1]]\n"
        "from coc_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'jinja2' in sys.modules)"
    )
    for form, page in (("md", "False"), ("csv", "False"), ("html", "True")):
        done = subprocess.run([sys.executable, "-c", code, form], capture_output=True, text=True, check=True)
        assert done.stdout.split()[-3:] == ["0", "False", page]
    assert (small / "report.html").is_file()


def test_runs_are_named_where_compress_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fake_runs.run(Path("runs/mine"))
    Path("package/stages").mkdir(parents=True)
    with pytest.raises(UserError) as told:
        deliver([Path("nowhere")], "terminal", None)
    assert str(told.value) == "nowhere: no such run directory; there are: runs/mine"
