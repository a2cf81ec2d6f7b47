"""Limits as test cases of JUnit, in the form and order that its schema asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import fake_runs
import pytest
from command_line import coc

SUITE = {"id", "package", "name", "hostname", "timestamp", "time", "tests", "failures", "errors"}


def suites(*directories: Path) -> list[ET.Element]:
    """The suites of a report, each checked against the schema."""
    root = ET.fromstring(coc("report", *directories, "--format", "junit").stdout)
    assert root.tag == "testsuites"
    for suite in root:
        check(suite)
    return list(root)


def check(suite: ET.Element) -> None:
    """What the schema of Ant's JUnit task says of a suite."""
    assert set(suite.attrib) == SUITE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp"))
    tags = [part.tag for part in suite]
    cases = suite.findall("testcase")
    assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
    assert cases, "a suite without a case is a failure for some systems"
    for case in cases:
        assert set(case.attrib) == {"classname", "name", "time"}
        assert [set(inner.attrib) for inner in case] in ([], [{"type", "message"}])
        assert {inner.tag for inner in case} <= {"failure", "error"}
    counts = [len(cases), len(suite.findall("testcase/failure")), len(suite.findall("testcase/error"))]
    assert [int(suite.get(name)) for name in ("tests", "failures", "errors")] == counts
    assert all(set(one.attrib) == {"name", "value"} for one in suite.find("properties"))


def said(suite: ET.Element) -> dict[str, str | None]:
    """Each case with its tag and message, None if it passes."""
    cases = suite.findall("testcase")
    return {case.get("name"): next((f"{one.tag}: {one.get('message')}" for one in case), None) for case in cases}


def rewrite(run: Path, **changes: object) -> None:
    path = run / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_limit_that_is_met_passes_and_one_that_is_missed_fails(small: Path, other: Path) -> None:
    met, missed = suites(small, other)
    assert said(met) == {"max_drop": None}
    assert said(missed) == {"max_drop": "failure: max_drop 0.1: 0.625, MISSED"}
    assert (met.get("name"), met.get("time"), missed.get("id")) == ("small", "18.800", "1")
    assert met.find("testcase").get("classname") == "small.limits"
    properties = {one.get("name"): one.get("value") for one in missed.find("properties")}
    assert properties["verdict"] == "LIMIT MISSED"
    assert properties["accuracy"] == "25.00%"


def test_a_limit_that_is_not_decided_errs(small: Path) -> None:
    limit = {"name": "min_speedup", "limit": 2, "value": 4.0, "ok": False, "decided": False}
    rewrite(small, limits=[limit], ok=False)
    assert said(suites(small)[0]) == {"min_speedup": "error: min_speedup 2: 4, not decided"}


def test_a_run_without_limits_passes_if_it_is_complete(small: Path) -> None:
    rewrite(small, limits=[])
    assert said(suites(small)[0]) == {"is complete": None}


def test_a_stage_without_a_result_errs(small: Path) -> None:
    (small / "report.json").unlink()
    for path in (small / "stages/02-early_exit").iterdir():
        path.unlink()
    found = said(suites(small)[0])
    assert found == {"2 early_exit": "error: has no result"}


def test_a_run_of_which_nothing_is_known_errs(tmp_path: Path) -> None:
    run = tmp_path / "begun"
    run.mkdir()
    (run / "log.jsonl").write_text('{"event": "start"}\n')
    assert said(suites(run)[0]) == {"is complete": "error: not finished"}


def test_warnings_stand_in_system_out(small: Path) -> None:
    rewrite(small, warnings=["2 early_exit: its accuracy is no better"])
    assert "2 early_exit: its accuracy is no better" in suites(small)[0].find("system-out").text


@pytest.mark.parametrize("name", ["<&\"'>", "a\x00b\x1b[31m", "\ufffe", "]]>"])
def test_strangers_texts_break_no_xml(tmp_path: Path, name: str) -> None:
    run = fake_runs.run(tmp_path / "run", fake_runs.report(name))
    suite = suites(run)[0]
    assert "\x1b" not in suite.get("name")


def test_it_is_written_to_a_file(small: Path) -> None:
    assert coc("report", small, "--format", "junit", "--out", "coc.xml").stdout == "report: coc.xml\n"
    assert ET.parse("coc.xml").getroot().tag == "testsuites"
