"""What `coc order` prints."""

from __future__ import annotations

from pathlib import Path

from coc_cli.order.outlook import Outlook
from coc_cli.order.request import OrderRequest
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.report.charts import orders
from coc_cli.report.schema.order import OrderReport
from coc_cli.units import counted, duration

MOST_RANKED = 10  # orders that are printed


def print_outlook(request: OrderRequest, found: Outlook) -> None:
    """Print what an experiment will take, and what it can find."""
    chains = f"{counted(found.chains, 'chain')} of {counted(len(request.seeds), 'seed')}"
    print_line(f"{chains}: {counted(found.jobs, 'stage')} to run, baselines counted, as chains share their beginnings")
    print_line(f"done before: {found.done}" + (f", in the cache: {found.cached}" if found.cached else ""))
    time = "not known yet" if found.seconds is None else f"about {duration(found.seconds)} here"
    print_line(f"time: {time}, {counted(request.jobs, 'job')} beside each other")
    spread = f"differences that deviate by {found.spread:.2g} points between seeds"
    spread += ", as assumed" if found.is_assumed else ", as seen"
    if found.smallest_effect is None:
        print_line("with fewer than 5 seeds nothing is decided, only described")
    else:
        print_line(f"decides effects of {found.smallest_effect:.2g} points in 80 %, for {spread}")


def print_order(report: OrderReport, directory: Path) -> None:
    """Print verdicts, the order and the ranking."""
    unit = report.unit
    table = table_of(f"order of {report.name}, effects in {unit}", *orders.HEAD)
    for pair in (*report.pairs, *report.insertions):
        table.add_row(*orders.row(pair, report))
    print_table(table)
    for one in report.strengths:
        print_line(f"{one.stage}: {one.means}")
    if report.cycle and report.weakest:
        around = ", ".join([*report.cycle, report.cycle[0]])
        print_line(f"no order: {around} is a cycle; its weakest verdict is {' before '.join(report.weakest)}")
    elif report.order:
        ties = ", ".join(f"{one} and {two}" for one, two in report.ties)
        print_line(f"order: {', '.join(report.order)}" + (f"; not decided: {ties}" if ties else ""))
    if report.ranking:
        ranked = table_of("all orders", "order", f"score in {unit}", "behind the best", "as good")
        for rank in report.ranking[:MOST_RANKED]:
            behind = "-" if rank.behind_best is None else f"{rank.behind_best.mean:+.2f}"
            ranked.add_row(", ".join(rank.order), f"{rank.score:.2f}", behind, "yes" if rank.is_as_good else "no")
        print_table(ranked)
    print_line(f"result: {directory / 'order.json'}")
