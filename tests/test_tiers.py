"""The tests' own machinery: three tiers that part the cases, samples that turn with the commit, a record, a clean tree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import checkout
import pytest
import sampling
from hypothesis import strategies as st
from sampling import check_cases, counts, sample, tiered

pytest_plugins = ["pytester"]
TESTS = """\
import pytest
from sampling import counts, tiered

def test_plain(): pass

@pytest.mark.full
def test_long(): pass

@pytest.mark.parametrize("case", tiered(range(20), quick=(0, 7), full=5))
def test_table(case): assert case != 19

@pytest.mark.parametrize("count", counts(quick=1, full=10, exhaustive=100))
def test_random(count): pass

@pytest.mark.exhaustive
def test_that_needs_what_is_not_here(): pytest.skip("not here")
"""


@pytest.fixture
def tiers(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> pytest.Pytester:
    """A folder with a few tests, the markers and options of this repository, and its hooks."""
    quick = pytestconfig.getini("addopts")[-1]
    markers = "\n".join(
        f"    {line}" for line in pytestconfig.getini("markers") if line.startswith(("quick", "full", "exh"))
    )
    pytester.makeini(f'[pytest]\naddopts = --strict-markers -m "{quick}"\nmarkers =\n{markers}\n')
    pytester.makeconftest("from record import *")
    pytester.makepyfile(test_it=TESTS)
    return pytester


def collected(tiers: pytest.Pytester, *arguments: str) -> list[str]:
    lines = tiers.runpytest_inprocess("--collect-only", "-q", *arguments).outlines
    return [line.partition("::")[2] for line in lines if "::" in line]


def test_each_case_is_in_one_tier_and_tables_are_complete_in_the_last(tiers: pytest.Pytester) -> None:
    quick, full, exhaustive = (collected(tiers, *arguments) for arguments in ([], ["-m", "full"], ["-m", "exhaustive"]))
    assert {"test_plain", "test_table[0]", "test_table[7]", "test_random[1]"} == set(quick)
    assert len(full) == 1 + 5 + 1
    assert not set(quick) & set(full)
    assert {f"test_table[{case}]" for case in range(20)} < set(exhaustive)
    assert len(exhaustive) == 20 + 1 + 1
    assert {*quick, *full, *exhaustive} == set(collected(tiers, "-m", ""))


def test_a_case_in_two_tiers_is_refused(tiers: pytest.Pytester) -> None:
    tiers.makepyfile(test_twice="import pytest\n\n@pytest.mark.full\n@pytest.mark.quick\ndef test_it(): pass\n")
    done = tiers.runpytest_inprocess("test_twice.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_twice.py::test_it is in the quick and in the full tier*"])


def test_a_record_says_which_cases_ran_and_how_they_ended(tiers: pytest.Pytester) -> None:
    done = tiers.runpytest_inprocess("-m", "exhaustive", "--record", "notes/record.json")
    done.stdout.fnmatch_lines([f"samples: seed {sampling.seed()}, of commit {checkout.commit()[:12]}"])
    record = json.loads(Path("notes/record.json").read_text())
    assert (record["selected"], record["commit"]) == ("exhaustive", checkout.commit())
    assert record["totals"] == {"passed": 20, "failed": 1, "skipped": 1}
    table = record["tests"]["test_it.py::test_table"]
    assert (table["passed"], table["failed"], len(table["cases"])) == (19, ["19"], 20)
    assert record["tests"]["test_it.py::test_that_needs_what_is_not_here"]["skipped"] == [""]
    assert record["machine"]["cores"] >= 1
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    assert 0 < record["seconds"] < 60


def test_a_case_that_fails_as_it_is_put_away_has_failed(tiers: pytest.Pytester) -> None:
    fixture = "@pytest.fixture\ndef broken():\n    yield\n    assert False\n\n"
    tiers.makepyfile(test_it=f"import pytest\n\n{fixture}def test_late(broken): pass\n")
    tiers.runpytest_inprocess("--record", "record.json")
    assert json.loads(Path("record.json").read_text())["totals"] == {"passed": 0, "failed": 1, "skipped": 0}


def test_samples_turn_with_their_seed_and_keep_the_order() -> None:
    cases = "abcdefghij"
    assert sample(cases, 4, 1) == sample(cases, 4, 1) == sorted(sample(cases, 4, 1))
    assert len({tuple(sample(cases, 4, seed)) for seed in range(20)}) > 10
    assert {case for seed in range(20) for case in sample(cases, 4, seed)} == set(cases)
    assert sample(cases, 99, 1) == list(cases)


def test_a_table_must_hold_what_is_quick() -> None:
    with pytest.raises(AssertionError, match="are not all in the table"):
        tiered("abc", quick="z", full=1)
    with pytest.raises(AssertionError):
        counts(quick=10, full=10, exhaustive=20)


def test_random_cases_are_drawn_and_a_false_one_is_told() -> None:
    seen: list[int] = []

    def below_six(number: int) -> None:
        assert number < 6

    check_cases(30, lambda number: seen.append(number), number=st.integers(0, 10**9))  # noqa: PLW0108  (hypothesis wants a function)
    assert len(seen) == 30
    with pytest.raises(AssertionError):
        check_cases(30, below_six, number=st.integers(0, 10**9))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with one file."""
    (tmp_path / "kept").write_text("1")
    (tmp_path / ".gitignore").write_text("ignored\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_what_is_left_behind_is_seen(repository: Path) -> None:
    before = checkout.untracked(repository)
    for name in ("new file", "ignored", "runs/tiny/model", "kept"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("2")
    assert checkout.left_behind(before, checkout.untracked(repository)) == ["new file"]


def test_a_commit_is_named_and_changes_are_seen(repository: Path) -> None:
    assert len(checkout.commit(repository)) == 40
    assert not checkout.has_uncommitted_changes(repository)
    (repository / "kept").write_text("2")
    assert checkout.has_uncommitted_changes(repository)


def test_without_git_the_sample_is_a_fixed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checkout.commit(tmp_path) == "0" * 40
    assert checkout.has_uncommitted_changes(tmp_path) is None
    assert checkout.untracked(tmp_path) == set()
