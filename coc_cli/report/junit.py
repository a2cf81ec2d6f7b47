"""A report as JUnit XML: what a CI system shows of limits, as of tests.

A limit is a test case: it passes, fails where it is missed, or errs where a busy machine let it not be judged. A stage
without a result is one that errs. Warnings, and what is missing or damaged, stand in system-out. The form is that of
the schema of Apache Ant's JUnit task, in the order that it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from coc_cli.report import wording
from coc_cli.report.model import LimitView, Run
from coc_cli.units import printable

NO_DATE = "1970-01-01T00:00:00"
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def junit(runs: tuple[Run, ...]) -> str:
    """Return a test suite for each run, as XML."""
    root = Element("testsuites", name="coc")
    for index, run in enumerate(runs):
        root.append(_suite(index, run))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(index: int, run: Run) -> Element:
    cases = [*(_limit(run, limit) for limit in run.limits), *_stage_errors(run)]
    if not cases:
        cases = [_case(run, "run", "is complete")]
    seconds = sum(stage.seconds or 0.0 for stage in run.stages)
    kinds = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error")}
    date = DATE.match(run.environment.get("date", ""))
    about = {"id": str(index), "package": "coc", "name": printable(run.label), "hostname": "localhost"}
    counts = {"tests": len(cases), "failures": kinds["failure"], "errors": kinds["error"]}
    suite = Element("testsuite", about, timestamp=date[0] if date else NO_DATE, time=f"{seconds:.3f}")
    suite.attrib.update({name: str(count) for name, count in counts.items()})
    properties = SubElement(suite, "properties")
    for name, value in _properties(run):
        SubElement(properties, "property", name=name, value=printable(value))
    suite.extend(cases)
    SubElement(suite, "system-out").text = "\n".join(map(printable, (*run.damaged, *run.warnings, *run.missing)))
    SubElement(suite, "system-err")
    return suite


def _properties(run: Run) -> Iterator[tuple[str, str]]:
    last = run.last
    yield "verdict", run.verdict
    yield "directory", run.directory
    if last is not None:
        yield run.metric, wording.value(run.metric, last.metric_value)
        yield "bitops_ratio", wording.times(last.bitops_ratio)
        yield "checkpoint_bytes", wording.counted(last.checkpoint_bytes)


def _case(run: Run, kind: str, name: str) -> Element:
    return Element("testcase", classname=f"{printable(run.label)}.{kind}", name=printable(name), time="0.000")


def _limit(run: Run, limit: LimitView) -> Element:
    case = _case(run, "limits", limit.name)
    if limit.ok:
        return case
    kind = "failure" if limit.ok is False and limit.decided is not False else "error"
    SubElement(case, kind, type=kind, message=printable(wording.judged(limit)))
    return case


def _stage_errors(run: Run) -> Iterator[Element]:
    """Yield a case for each stage of the recipe that has no result."""
    chain = run.settings.get("chain")
    links = [next(iter(link), "?") for link in chain if isinstance(link, dict)] if isinstance(chain, list) else []
    there = {stage.index for stage in run.stages}
    for index, name in enumerate(["baseline", *links] if run.settings else []):
        if index not in there:
            case = _case(run, "stages", f"{index} {name}")
            SubElement(case, "error", type="error", message="has no result")
            yield case
    if run.ok is None and not run.settings:
        case = _case(run, "run", "is complete")
        SubElement(case, "error", type="error", message=run.verdict)
        yield case
