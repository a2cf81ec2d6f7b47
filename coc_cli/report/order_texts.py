"""The page and the Markdown of order.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coc_cli.report.charts import orders
from coc_cli.report.charts.figure import Table
from coc_cli.report.page import TEMPLATES, template
from coc_cli.report.schema.order import OrderReport, PairEntry


def headline(report: OrderReport) -> str:
    """Say in a sentence which order is best, or why none is."""
    if report.cycle and report.weakest:
        around = " before ".join([*report.cycle, report.cycle[0]])
        first, second = report.weakest
        return f"No order: {around} is a cycle. Its least sure verdict is {first} before {second}."
    if not report.order:
        return "No order."
    if all(pair.decision == "described" for pair in report.pairs):
        return "Described, not decided: a verdict needs 5 seeds."
    decided = len(report.pairs) - len(report.ties)
    text = ", ".join(orders.labels(report)[name] for name in report.order)
    if not decided:
        return "Nothing is decided: no pair of stages differs by more than what seeds do."
    return f"{text}. {_how_sure(report)}"


def _how_sure(report: OrderReport) -> str:
    """Say whether each pair was decided, or follows from others."""
    undecided = [f"{pair.first} and {pair.second}" for pair in report.pairs if pair.decision == "undecided"]
    if report.ties:
        return "Some pairs are not decided."
    if undecided:
        return f"Verdicts on the others put {', '.join(undecided)} in order, which alone are not decided."
    return "All pairs are decided."


def tables(report: OrderReport) -> dict[str, Table]:
    """Return the tables of a report by their headings."""
    found = {"Pairs": _verdicts(report, report.pairs)}
    if report.insertions:
        found["With a third stage"] = _verdicts(report, report.insertions)
    if (ranked := orders.ranking(report)) is not None:
        found["All orders"] = ranked
    settings = tuple((one.stage, one.means, "; ".join(map(_settings, one.settings))) for one in report.strengths)
    found["Strengths"] = Table(("stage", "what it is", "weak to strong"), settings)
    return found


def _verdicts(report: OrderReport, pairs: Sequence[PairEntry]) -> Table:
    return Table(orders.HEAD, tuple(orders.row(one, report) for one in pairs))


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in settings.items()) or "as it is"


def _value(value: Any) -> str:
    """Return a setting's value in words; of one with keys of its own, such as a student, those that are given."""
    if not isinstance(value, dict):
        return str(value)
    return " ".join(f"{key} {_value(one)}" for key, one in value.items() if one not in (None, {}))


def markdown(report: OrderReport) -> str:
    """Return the report as Markdown."""
    parts = [f"# Order of {report.name}", headline(report)]
    for heading, table in tables(report).items():
        lines = [table.head, ("---",) * len(table.head), *table.rows]
        parts.append(f"## {heading}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def html(report: OrderReport) -> str:
    """Return the page."""
    figures = [orders.graph(report), orders.effects("Effects of pairs", report.pairs, report)]
    if report.insertions:
        figures.append(orders.effects("With a third stage", report.insertions, report))
    return template("order.html").render(
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        report=report,
        headline=headline(report),
        figures=figures,
        panels=[orders.curves(pair, report) for pair in report.pairs],
        tables={name: table for name, table in tables(report).items() if name in ("All orders", "Strengths")},
    )
