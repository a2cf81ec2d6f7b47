"""The tables that verbs print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from coc_cli.checkpoint import Header
from coc_cli.dvfs.profile import ASSUMED, NOT_MEASURED, Levels, Profile
from coc_cli.nets.cost import cost
from coc_cli.plan import Plan
from coc_cli.recipe.model import Recipe
from coc_cli.report.delivery import page_of
from coc_cli.report.reading import read_runs
from coc_cli.report.terminal import stage_table
from coc_cli.units import count, percent, shown

if TYPE_CHECKING:
    from coc_cli.measure_profile import Outcome

SCATTER = 1.5  # a p95 above so many medians is worth a word


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _range(low: float, high: float) -> str:
    return f"{low:.1f}x" if low == high else f"{low:.1f}x..{high:.1f}x"


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def print_plan(plan: Plan, recipe: Recipe) -> None:
    """Print what each stage will leave, and what it carries over."""
    table = _table(f"plan of {recipe.name}", "stage", "MACs", "BitOps", "ratio (strict)", "nominal", "params", "bytes")
    baseline = plan.steps[0].cost
    for step in plan.steps:
        table.add_row(
            f"{step.index} {step.name}",
            count(step.cost.macs),
            count(step.cost.bitops),
            ("" if plan.is_exact(step) else "~") + _range(*plan.bitops_ratio(step)),
            _range(step.cost.nominal_ratio(baseline), step.cost.cheapest().nominal_ratio(baseline)),
            count(step.cost.params),
            count(step.checkpoint_bytes),
        )
    _print(table)
    if not all(plan.is_exact(step) for step in plan.steps):
        print("~ the widths that pruning leaves depend on the weights; MACs are promised, BitOps and bytes estimated")
    for step in plan.steps:
        for note in step.notes:
            print(f"{step.index} {step.name}: {note}")
    for warning in plan.warnings:
        print(f"warning: {warning}")


def print_result(report: dict[str, Any], directory: Path) -> None:
    """Print the stages of a finished run as `coc report` does, its exits and limits, and where everything lies."""
    metric, (run,) = report["metric"], read_runs([directory])
    print(stage_table(run), end="")
    for exit_ in report["stages"][-1]["exits"]:
        here = "" if exit_["metric_value"] is None else f", {metric} there {shown(metric, exit_['metric_value'])}"
        print(f"exit {exit_['index']}: {exit_['share']:.1%} of the images leave{here}")
    for limit in report["limits"]:
        verdict = "met" if limit["ok"] else "MISSED"
        print(f"limit {limit['name']} {limit['limit']:g}: {limit['value']:.6g}, {verdict}")
    page = page_of(directory)
    tail = f"   page: {page}" if page.is_file() else ""
    print(f"result: {directory / 'model.safetensors'}   report: {directory / 'report.json'}{tail}")


def print_policies(report: dict[str, Any], directory: Path) -> None:
    """Print what `coc predict-exit` found: policies under governors, and what is saved at equal score."""
    metric = report["metric"]
    title = (
        f"{report['profile']}, deadline {report['deadline']} = {report['deadline_ms']:.4g} ms:"
        f" {report['n_test']} test images; times and energies are a model"
    )
    table = _table(title, "policy", "governor", metric, "MACs", "saved", "latency ms", "energy mJ", "saved ", "missed")
    for row in report["policies"]:
        table.add_row(
            row["policy"],
            row["governor"],
            shown(metric, row["metric_value"]),
            count(row["macs_mean"]),
            percent(row["macs_reduction"]),
            f"{row['latency_ms_mean']:.4g}",
            f"{row['energy_mj_mean']:.4g}",
            percent(row["energy_saving"]),
            f"{row['deadline_miss_rate']:.1%}",
        )
    for name in report["not_applicable"]:
        table.add_row(name, *["n/a"] * 8)
    _print(table)
    for note in report["notes"]:
        print(f"note: {note}")
    _print_savings(report)
    _print_worth(report)
    chosen = report["schedule"]
    rows = {(row["policy"], row["governor"]): row for row in report["policies"]}
    hits = rows[chosen["policy"], chosen["governor"]]["predictor"]
    if hits:
        print(
            f"the predictor names the exit rightly {hits['hit_rate']:.1%} of the time, is off by"
            f" {hits['mean_abs_error']:.2f} exits on average, asks again {hits['repredictions_mean']:.2f} times an"
            f" input; a prediction costs {count(report['predictor_macs'])} MACs of {count(report['full_macs'])}"
        )
    print(f"schedule ({chosen['policy']} under {chosen['governor']}): {directory / 'schedule.jsonl'}")
    page = page_of(directory)
    tail = f"   page: {page}" if page.is_file() else ""
    print(f"all figures: {directory / 'predict-exit.json'}{tail}")


def _print_worth(report: dict[str, Any]) -> None:
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
    table = _table("energy (model): what the prediction is worth", *columns)
    for entry in report["deadlines"]:
        table.add_row(*row(f"deadline {entry['deadline']}", entry["worth"]))
    for entry in report["sensitivity"][1:]:
        table.add_row(*row(entry["change"], entry))
    _print(table)


def _print_savings(report: dict[str, Any]) -> None:
    def share(entry: dict[str, Any], key: str) -> str:
        if entry[key] is None:
            return "not reached"
        low, high = entry[f"{key}_ci95"]
        return f"{percent(entry[key])} ({percent(low)}..{percent(high)})"

    drops = sorted({entry["drop"] for entry in report["savings"]})
    drop = drops[min(2, len(drops) - 1)]
    title = f"MACs at {shown(report['metric'], drop)} below the final output, on test; 95 % interval, paired"
    table = _table(title, "policy", "MACs", "saved against classic", "saved against the best passive")
    for entry in report["savings"]:
        if entry["drop"] == drop and entry["policy"] != "classic":
            macs = "-" if entry["macs"] is None else count(entry["macs"])
            table.add_row(entry["policy"], macs, share(entry, "saved_classic"), share(entry, "saved_passive"))
    _print(table)


def print_profiles(profiles: list[Profile]) -> None:
    """Print devices, and how many of their numbers are assumed."""
    table = _table("profiles", "profile", "levels", "MHz", "mV", "fp32 GMAC/s", "dynamic", "static", "idle", "assumed")
    for one in profiles:
        plain, numbers = one.arithmetic["fp32"], one.sources()
        table.add_row(
            one.name,
            str(one.levels),
            f"{one.frequency_mhz.values[0]:g}..{one.frequency_mhz.values[-1]:g}",
            f"{one.voltage_mv.values[0]:g}..{one.voltage_mv.values[-1]:g}",
            f"{plain.throughput_gmacs.value:g}",
            f"{plain.dynamic_power_mw.value:g} mW",
            f"{one.static_power_mw.value:g} mW",
            f"{one.idle_power_mw.value:g} mW",
            f"{sum(source.startswith((ASSUMED, NOT_MEASURED)) for source in numbers)} of {len(numbers)}",
        )
    _print(table)


def print_measured(outcome: Outcome, target: Path) -> None:
    """Print what `coc profiles measure` found: times beside the model's, how well it fits, and what is assumed."""
    profile, fit = outcome.profile, outcome.fit
    assert profile.measured
    table = _table(
        f"{profile.name}: measured times, batch 1, and the model fitted to them",
        *("part", "MACs", "bytes", "median ms", "p95 ms", "model ms", "model is off", "energy mJ"),
    )
    for part, error in zip(profile.measured.parts, fit.error, strict=True):
        times = [f"{ms:.4g}" for ms in (part.median_ms, part.p95_ms, part.model_ms)]
        energy = NOT_MEASURED if part.energy_mj is None else f"{part.energy_mj:.4g}"
        table.add_row(part.name, count(part.macs), count(part.bytes), *times, f"{error:+.1%}", energy)
    _print(table)
    whole = sum(part.median_ms for part in profile.measured.parts)
    print(
        f"the model is off by {fit.median_error:.1%} (median), {fit.largest_error:.1%} (worst) of a part's time; all"
        f" parts: {whole:.4g} ms, model {sum(fit.model_ms):.4g} ms; the network in one go: {outcome.whole_ms:.4g} ms"
    )
    if not fit.is_tested:
        print("these are too few parts to test the model: any times would fit; take a network with more exits")
    if outcome.is_twin:
        print("the network is quantised, which torch only imitates: its float twin was timed")
    print(f"energy: {profile.measured.energy}")
    if max(part.p95_ms / part.median_ms for part in profile.measured.parts) > SCATTER:
        print(
            f"times scatter (a p95 above {SCATTER:g} medians): the machine may have other work; measure when it is idle"
        )
    _print_sources(profile)
    print(f"profile: {outcome.path}   use: coc predict-exit {target} --profile {outcome.path}")


def _print_sources(profile: Profile) -> None:
    """Print where each number is from, those of one source together."""
    by_source: dict[str, list[str]] = {}
    for name, number in profile.named_numbers():
        value = f"{number.values[0]:g}..{number.values[-1]:g}" if isinstance(number, Levels) else f"{number.value:g}"
        by_source.setdefault(number.source, []).append(f"{name} {value}")
    for source in sorted(by_source):
        print(f"{', '.join(by_source[source])}\n    {source}")


def print_header(header: Header, path: Path) -> None:
    """Print a checkpoint's spec and lineage, layer by layer."""
    spec, found = header.spec, cost(header.spec)
    arguments = ", ".join(f"{key} {value}" for key, value in spec.args.items())
    chain = " -> ".join(ancestor.stage for ancestor in header.lineage)
    print(f"{path}: {spec.arch} ({arguments}), input {'x'.join(map(str, spec.input_shape))}, {len(spec.labels)} labels")
    print(f"lineage: {chain}")
    size = path.stat().st_size
    print(f"{count(found.macs)} MACs, {count(found.bitops)} BitOps, {found.params} parameters, {size} bytes")
    for index, place in enumerate(spec.exits):
        print(f"exit {index}: {place.head} head behind {place.source}")
    if spec.rule is not None:
        print(
            f"leaves where {spec.rule.measure} passes {spec.rule.threshold:.4f}; the counts are those of the full path"
        )
    table = _table("layers", "layer", "weights", "MACs", "params", "weight bits", "activation bits", "BitOps")
    for layer in found.layers:
        bits = (str(layer.weight_bits), str(layer.activation_bits))
        shape = "x".join(map(str, layer.shape))
        table.add_row(layer.name, shape, count(layer.macs), str(layer.params), *bits, count(layer.bitops))
    _print(table)
