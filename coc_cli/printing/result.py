"""What `coc compress` prints in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coc_cli.printing.table import print_line
from coc_cli.report.delivery import page_of
from coc_cli.report.read.run import read_runs
from coc_cli.report.terminal import stage_table
from coc_cli.report.wording import latency
from coc_cli.units import metric_text


def print_result(report: dict[str, Any], directory: Path) -> None:
    """Print the stages of a finished run as `coc report` does, its exits and limits, and where everything lies."""
    metric, (run,) = report["metric"], read_runs([directory])
    print(stage_table(run), end="")
    for exit_ in report["stages"][-1]["exits"]:
        here = "" if exit_["metric_value"] is None else f", {metric} there {metric_text(metric, exit_['metric_value'])}"
        print_line(f"exit {exit_['index']}: {exit_['share']:.1%} of the images leave{here}")
    for sentence in run.warnings:
        print_line(f"warning: {sentence}")
    if run.last and run.last.latency_ms:
        print_line(f"latency: {latency(run.last)}")
    for limit in report["limits"]:
        verdict = "met" if limit["ok"] else "MISSED" if limit["decided"] else "not decided: busy machine"
        print_line(f"limit {limit['name']} {limit['limit']:g}: {limit['value']:.6g}, {verdict}")
    page = page_of(directory)
    tail = f"   page: {page}" if page.is_file() else ""
    print_line(f"result: {directory / 'model.safetensors'}   report: {directory / 'report.json'}{tail}")
