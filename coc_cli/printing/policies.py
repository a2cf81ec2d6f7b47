"""What `coc predict-exit` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coc_cli.files.run_directory import RESULT
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.report.delivery import page_of
from coc_cli.units import count, metric_text, percent


def print_policies(report: dict[str, Any], directory: Path, *, every: bool = False) -> None:
    """Print the answer of `coc predict-exit`, with `every` also all policies under governors and what each saves."""
    if every:
        _print_policies(report)
        _print_savings(report)
        _print_benefit(report)
    for line in report["answer"]:
        print_line(line)
    for note in report["notes"]:
        print_line(note if note.startswith("warning: ") else f"note: {note}")
    chosen = report["schedule"]
    rows = {(row["policy"], row["governor"]): row for row in report["policies"]}
    hits = rows[chosen["policy"], chosen["governor"]]["predictor"]
    if hits:
        print_line(
            f"the predictor names the exit rightly {hits['hit_rate']:.1%} of the time, is off by"
            f" {hits['mean_abs_error']:.2f} exits on average, asks again {hits['repredictions_mean']:.2f} times an"
            f" input; a prediction costs {count(report['predictor_macs'])} MACs of {count(report['full_macs'])}"
        )
    print_line(f"schedule ({chosen['policy']} under {chosen['governor']}): {directory / 'schedule.jsonl'}")
    if applied := report["applied"]:
        kept = ", ".join(f"{exit_}" for exit_ in applied["exits"])
        kept = f"exits {kept}" if kept else "no exits"
        value = metric_text(report["metric"], applied["metric_value"])
        print_line(f"applied ({applied['policy']}, {kept}; {value} on test): {directory / RESULT}")
    page = page_of(directory)
    tail = f"   page: {page}" if page.is_file() else ""
    print_line(f"all figures: {directory / 'predict-exit.json'}{tail}")
    if not every:
        print_line("every policy and deadline in tables: --all")


def _print_policies(report: dict[str, Any]) -> None:
    metric = report["metric"]
    title = (
        f"{report['profile']}, deadline {report['deadline']} = {report['deadline_ms']:.4g} ms:"
        f" {report['n_test']} test images; times and energies are a model"
    )
    table = table_of(
        title, "policy", "governor", metric, "MACs", "saved", "latency ms", "energy mJ", "saved ", "missed"
    )
    for row in report["policies"]:
        table.add_row(
            row["policy"],
            row["governor"],
            metric_text(metric, row["metric_value"]),
            count(row["macs_mean"]),
            percent(row["macs_reduction"]),
            f"{row['latency_ms_mean']:.4g}",
            f"{row['energy_mj_mean']:.4g}",
            percent(row["energy_saving"]),
            f"{row['deadline_miss_rate']:.1%}",
        )
    for name in report["not_applicable"]:
        table.add_row(name, *["n/a"] * 8)
    print_table(table)


def _print_benefit(report: dict[str, Any]) -> None:
    """Print what the prediction is worth in energy, at several deadlines and on changed devices."""
    is_share = report["metric"] == "accuracy"

    def row(name: str, worth: dict[str, Any]) -> list[str]:
        if worth["passive"] is None:
            return [name, *["-"] * 6]
        rows = [f"{worth[who]['policy']}/{worth[who]['governor']}" for who in ("passive", "ours")]
        energies = [f"{worth[who]['energy_mj_mean']:.4g}" for who in ("passive", "ours", "oracle")]
        compared = f"{worth['score_difference']:+.2%}" if is_share else f"{worth['score_difference']:+.3g}"
        closed = "no gap" if worth["gap_closed"] is None else f"{worth['gap_closed']:.0%}"
        shown = [f"{rows[0]} {energies[0]}", f"{rows[1]} {energies[1]}", energies[2]]
        return [name, *shown, percent(worth["saved_passive"]), compared, closed]

    better = "accuracy" if is_share else "less error"
    columns = ("deadline or change", "best passive, mJ", "ours, mJ", "oracle, mJ", "saved", better, "of the gap")
    table = table_of("energy (model): what the prediction is worth", *columns)
    for entry in report["deadlines"]:
        table.add_row(*row(f"deadline {entry['deadline']}", entry["worth"]))
    for entry in report["sensitivity"][1:]:
        table.add_row(*row(entry["change"], entry))
    print_table(table)


def _print_savings(report: dict[str, Any]) -> None:
    def fraction(entry: dict[str, Any], key: str) -> str:
        if entry[key] is None:
            return "not reached"
        low, high = entry[f"{key}_ci95"]
        return f"{percent(entry[key])} ({percent(low)}..{percent(high)})"

    drops = sorted({entry["drop"] for entry in report["savings"]})
    drop = drops[min(2, len(drops) - 1)]
    title = f"MACs at {metric_text(report['metric'], drop)} below the final output, on test; 95 % interval, paired"
    table = table_of(title, "policy", "MACs", "saved against classic", "saved against the best passive")
    for entry in report["savings"]:
        if entry["drop"] == drop and entry["policy"] != "classic":
            macs = "-" if entry["macs"] is None else count(entry["macs"])
            table.add_row(entry["policy"], macs, fraction(entry, "saved_classic"), fraction(entry, "saved_passive"))
    print_table(table)
