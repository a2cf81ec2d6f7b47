"""What `coc evaluate` prints: figures, classes and confusions, or numbers against the truth."""

from __future__ import annotations

from collections.abc import Iterator

from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.report import wording
from coc_cli.report.schema.answers import AnswersEntry, TargetEntry
from coc_cli.report.schema.evaluate import EvaluationReport, SplitEntry
from coc_cli.report.schema.part import as_json as text_of
from coc_cli.units import count, counted

MOST_CLASSES = 20  # rows; of more classes the worst are shown
MOST_CONFUSED = 10
WIDE, HIGH = 60, 18  # characters of a scatter
DENSITY = " .:oO@"


def print_evaluation(found: EvaluationReport, *, as_json: bool) -> None:
    """Print a network's figures on both splits, and where its answers on test are right and wrong; or JSON."""
    if as_json:
        print(text_of(found))
        return
    print_line(f"{found.network}: {found.arch}, {count(found.macs)} MACs, {count(found.params)} parameters")
    more = [name for name in ("top5", "r2") if getattr(found.splits[0].details, name) is not None]
    names = {"top5": "top 5", "r2": "R2"}
    table = table_of("", "images", "n", found.metric, "95 %", "always the same", *(names[name] for name in more))
    for split in found.splits:
        table.add_row(*_figures(found.metric, split, more))
    print_table(table)
    test = found.splits[-1]
    for exit_ in test.exits:
        print_line(
            f"exit {exit_.index}: {exit_.share:.1%} of the test images leave, {found.metric} there "
            f"{wording.value(found.metric, exit_.metric_value)}"
        )
    _print_classes(test.answers)
    for target in test.answers.targets:
        _print_scatter(target, (test.details.mae_by_target or {}).get(target.label))
    for sentence in found.warnings:
        print_line(f"warning: {sentence}")


def _figures(metric: str, split: SplitEntry, more: list[str]) -> Iterator[str]:
    details = split.details
    yield split.name
    yield f"{split.n:,}"
    yield wording.value(metric, split.metric_value)
    yield wording.interval(metric, split.metric_ci95)
    yield wording.value(metric, details.trivial_value)
    for name in more:
        yield wording.percent(details.top5) if name == "top5" else wording.r2(details.r2)


def _print_classes(answers: AnswersEntry) -> None:
    """Print each class with its accuracy, then every pair of few classes, or the most frequent confusions."""
    if not answers.classes:
        return
    classes = [one for one in answers.classes if one.accuracy is not None]
    is_few = len(answers.classes) <= MOST_CLASSES
    if answers.confusion is not None and is_few:
        columns = [str(place) for place in range(len(answers.classes))]
        table = table_of("test images by class (row) and answer (column)", "class", "accuracy", *columns)
        for place, (one, row) in enumerate(zip(answers.classes, answers.confusion, strict=True)):
            cells = ("" if not n else str(n) for n in row)
            table.add_row(f"{place} {wording.fitted(one.label, 20)}", wording.percent(one.accuracy), *cells)
        print_table(table)
        return
    worst = sorted(classes, key=lambda one: one.accuracy or 0.0)[:MOST_CLASSES]
    table = table_of(f"the {len(worst)} worst of {counted(len(answers.classes), 'class')}", "class", "n", "accuracy")
    for one in worst:
        table.add_row(wording.fitted(one.label, 40), str(one.n), wording.percent(one.accuracy))
    print_table(table)
    for pair in answers.confused[:MOST_CONFUSED]:
        print_line(f"{counted(pair.n, 'image')} of '{pair.label}' taken for '{pair.answer}'")


def _print_scatter(target: TargetEntry, mae: float | None) -> None:
    """Print true (across) against predicted numbers (up) as density; the diagonal is a perfect network."""
    if not target.points:
        return
    low, high = min(map(min, target.points)), max(map(max, target.points))
    width = (high - low) or 1.0
    cells: dict[tuple[int, int], int] = {}
    for true, given in target.points:
        place = (int((true - low) / width * (WIDE - 1)), int((given - low) / width * (HIGH - 1)))
        cells[place] = cells.get(place, 0) + 1
    most = max(cells.values())
    error = "" if mae is None else f", mean absolute error {mae:.4g}"
    print_line(f"{target.label}{error}: predicted (up) against true (across), {low:.4g} to {high:.4g}")
    for y in reversed(range(HIGH)):
        row = (_density(cells.get((x, y), 0), most, is_ideal=x * (HIGH - 1) // (WIDE - 1) == y) for x in range(WIDE))
        print_line("  |" + "".join(row).rstrip())
    print_line("  +" + "-" * WIDE)


def _density(n: int, most: int, *, is_ideal: bool) -> str:
    if not n:
        return "/" if is_ideal else " "
    return DENSITY[1 + (n - 1) * (len(DENSITY) - 2) // max(1, most)]
