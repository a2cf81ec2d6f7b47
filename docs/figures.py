"""The tables of figures in README.md and docs/benchmarks.md, from the JSON files that benchmarks/figures.py writes."""

from __future__ import annotations

import json
import runpy
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from coc_cli.report import order_texts
from coc_cli.report.schema.order import OrderReport
from coc_cli.units import counted

FOLDER = Path(__file__).resolve().parent / "benchmarks"
ORDER = (
    "quickstart",
    "distill-quantize",
    "regression",
    "table",
    "student",
    "control",
    "lowbit",
    "chain",
    "unpruned",
    "exits",
)
NO_RESULT = {"exits"}  # of a chain: what the next verb begins with
PROGRAM = FOLDER.parents[1] / "benchmarks/figures.py"
NONE = "-"
OPPONENTS = {  # of prediction, as predict.json names them
    "best passive kind of the papers": "the papers' best passive kind",
    "subset at one level": "`subset` at one level",
    "subset": "`subset`",
}
PEERS = {"ptq": "without training", "training": "four epochs each"}  # kinds of comparison with other tools


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read() -> dict[str, dict[str, Any]]:
    """Return the content of each file of runs, by name, in order."""
    there = {name: FOLDER / f"{name}.json" for name in ORDER}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in there.items() if path.is_file()}


def results() -> str:
    """Return README's table: a line for each case of each figure, means over seeds."""
    rows = []
    for name, figure in read().items():
        for case, runs in _by_case(figure).items() if name not in NO_RESULT else ():
            first, last = ([one["stages"][place] for one in runs] for place in (0, -1))
            link = f"[{figure['recipe']}](recipes/{figure['recipe']}.yaml){f' {case}' if case else ''}"
            rows.append([
                f"{link}: {_about(figure)}",
                str(len(runs)),
                *(_mean_value(figure, stages) for stages in (first, last)),
                max((_change(figure, one) for one in runs), key=lambda change: change[0])[1],
                f"1/{statistics.mean(stage['bitops_ratio'] for stage in last):.0f}",
                f"1/{statistics.mean(stage['bytes_ratio'] for stage in last):.0f}",
            ])  # fmt: skip
    return table(["recipe", "seeds", "baseline", "result", "worst seed", "BitOps", "bytes"], rows)


def figures() -> str:
    """Return the sections of docs/benchmarks.md, one for each file."""
    ablations = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("ablation-*.json")))
    sections = [_section(name, figure) for name, figure in read().items()]
    return "\n\n".join([*sections, _loop(), *_peers(), *map(_ablation, ablations), *_not_run()])


def _not_run() -> Iterator[str]:
    """Yield the section of what the program of figures would make and no file holds."""
    known, runs = read(), runpy.run_path(str(PROGRAM))["FIGURES"]
    there = {name: set(_by_case(figure)) for name, figure in known.items()}
    missing = [(name, case) for name, one in runs.items() for case in one.cases if case not in there.get(name, ())]
    rows = [
        [f"{runs[name].about}{f', {case}' if case else ''}", _command_for(name, case), runs[name].needs]
        for name, case in missing
    ]
    rows += [
        [about, f"`python benchmarks/{command}`", needs]
        for is_there, about, command, needs in _others()
        if not is_there
    ]
    if rows:
        yield "## Not run\n\n" + table(["figure", "command", "a run needs"], rows)


def _others() -> Iterator[tuple[bool, str, str, str]]:
    """Yield of what other programs would make whether it is there, what it is, the command, and what it needs."""
    peers, core = json.loads((FOLDER / "peers.json").read_text(encoding="utf-8"))["kinds"], "of a core"
    yield "training" in peers, "Other tools on a foreign ResNet-20, trained", "peers.py training", f"an hour {core}"
    about = "What each setting is worth on a tenth of CIFAR-10"
    for name, hours in {"views": "40 minutes", "training": "2 hours", "w3a3": "3 hours", "w2a2": "3 hours"}.items():
        is_there = (FOLDER / f"ablation-{name}.json").is_file()
        yield is_there, f"{about}: {name}", f"ablation.py {name} --seeds 3", f"{hours} {core}"


def predict_exit() -> str:
    """Return the tables of docs/predictive-exit.md: a kind of network each, a line for each device and deadline."""
    path = FOLDER / "predict.json"
    if not path.is_file():
        return "Not run: `python benchmarks/predict.py`."
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"{_where(found)}. [predict.json](benchmarks/predict.json) is made by\n\n    {found['command']}"]
    for kind in dict.fromkeys(one["kind"] for one in found["runs"]):
        runs = [one for one in found["runs"] if one["kind"] == kind]
        means = [one for one in found["means"] if one["kind"] == kind]
        rows = []
        for profile, deadline in dict.fromkeys((one["profile"], one["deadline"]) for one in runs):
            here = {(one["what"], one["opponent"]): one for one in means if _place(one) == (profile, deadline)}
            used = dict.fromkeys(one["scheduled"] for one in runs if _place(one) == (profile, deadline))
            columns = [("subset_saves", "classic"), *(("saved", opponent) for opponent in OPPONENTS)]
            cells = [_saved(here.get(column)) for column in columns]
            rows.append([profile, f"{deadline:g}x", *cells, ", ".join(used)])
        full = [one["full_accuracy"] for one in {one["seed"]: one for one in runs}.values()]
        about = f"{counted(len(full), 'seed')}, without exits {100 * statistics.mean(full):.2f} %"
        about += f" of {runs[0]['n_test']:,} test images; read at {100 * runs[0]['drop']:g} points less."
        head = [
            "device",
            "deadline",
            "`subset` against no exits",
            *(f"prediction against {name}" for name in OPPONENTS.values()),
        ]
        parts.append(f"### {kind}\n\n{about}\n\n{table([*head, 'scheduled'], rows)}")
    return "\n\n".join([*parts, *_promise()])


def _promise() -> Iterator[str]:
    """Yield how often a promise failed on a network's own images."""
    path = FOLDER / "promise.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        drawn = f"{found['draws']} validation sets of {found['images']:,} images, drawn from {found['population']:,}"
        failed = f"loses more than {100 * found['max_drop']:g} points of all of them {found['failed']} times"
        with_it = (
            f"a threshold with `confidence: {found['confidence']:g}` {failed}, leaves early in {found['used']} draws"
        )
        without = f"one that was chosen without fails {found['failed_without']} times"
        made = f"[promise.json](benchmarks/promise.json) is made by\n\n    {found['command']}"
        yield f"### A promise\n\n{drawn}: {with_it}; {without}. {made}"


def orders() -> str:
    """Return a section of docs/order.md for each order.json that was kept."""
    found = [(path, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("order-*.json"))]
    parts = [_order(path.stem, OrderReport.model_validate_json(text)) for path, text in found]
    return "\n\n".join(parts) or "Not run: `coc order recipes/order-digits.yaml --insert --all`."


def _order(name: str, report: OrderReport) -> str:
    asked = f"{' --insert' * bool(report.insertions)}{' --all' * bool(report.ranking)}"
    least = f" Decides effects of {report.smallest_effect:.2g} points in 80 %." if report.smallest_effect else ""
    took = f"{report.jobs:,} jobs, {report.seconds / 3600:.1f} hours of training on {report.environment.processor}"
    link = f"[{name}.json](benchmarks/{name}.json)"
    about = f"`coc order recipes/{name}.yaml{asked}`: {len(report.seeds)} seeds, {took}; {link}.{least}"
    parts = [f"### {name}", about, f"**{order_texts.headline(report)}**"]
    for heading, one in order_texts.tables(report).items():
        parts += [f"{heading}:", table(one.head, one.rows)]
    return "\n\n".join(parts)


def _place(one: dict[str, Any]) -> tuple[str, float]:
    return one["profile"], one["deadline"]


def _saved(one: dict[str, Any] | None) -> str:
    """Return what is saved, with its interval over seeds; of how many where some do not reach the score."""
    if one is None:
        return NONE
    interval = f" ({100 * one['ci95'][0]:+.1f} to {100 * one['ci95'][1]:+.1f})" if one["ci95"] else ""
    few = f", {one['n']} of {one['of']} seeds" if one["n"] < one["of"] else ""
    return f"{100 * one['mean']:+.1f} %{interval}{few}"


def _command_for(name: str, case: str) -> str:
    return f"`python benchmarks/figures.py {name}{f' --case {case}' if case else ''}`"


def _peers() -> Iterator[str]:
    """Yield the sections of other tools beside coc."""
    path = FOLDER / "peers.json"
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"] if path.is_file() else {}
    for kind, found in kinds.items():
        rows = []
        for one in found["rows"]:
            if "not_measured" in one:
                rows.append([one["tool"], one["setting"], f"not measured: {one['not_measured']}", *[NONE] * 3])
                continue
            low, high = one["ci95"]
            value = f"{100 * one['accuracy']:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
            size = one.get("file_bytes", one["bytes"])
            time = f"{one['cpu_ms']:.2f} ms, {one['speedup']:.2f}x" if "cpu_ms" in one else NONE
            bytes_ = f"{size / 1e3:.0f} kB" if size else NONE
            rows.append([one["tool"], one["setting"], value, f"{one['bitops_ratio']:.0f}x", bytes_, time])
        head = [
            "tool",
            "setting",
            f"accuracy, {found['rows'][0].get('n', '')} images",
            "BitOps (strict)",
            "file",
            "CPU time",
        ]
        text = f"## Other tools on a foreign ResNet-20: {PEERS[kind]}\n\n{_where(found)}. Made by\n\n"
        yield f"{text}    {found['command']}\n\n{table(head, rows)}"


def _loop() -> str:
    """Return the section of what the tool itself costs."""
    found = json.loads((FOLDER / "loop.json").read_text(encoding="utf-8"))
    about = f"ResNet-20, {found['images']:,} images, {found['rounds']} rounds in turn, CPU time; {_where(found)}."
    text = f"## What the tool itself costs\n\n{about} [loop.json](benchmarks/loop.json) is made by"
    text += f"\n\n    {found['command']}\n\n"
    ratios = [
        [name, f"{one['value']:.2f} ({one['rounds'][0]:.2f} to {one['rounds'][1]:.2f})", one["target"], _met(one)]
        for name, one in found["ratios"].items()
    ]
    rates = [[name, f"{rate:.0f}"] for name, rate in found["images_per_cpu_second"].items()]
    others = [[name, f"{seconds:.2f} s"] for name, seconds in found["seconds"].items()]
    others.append(["peak memory, all of this in one process", f"{found['peak_memory_bytes'] / 1e6:.0f} MB"])
    parts = [table(["ratio", "median (least to most)", "target", "met"], ratios)]
    parts += [table(["loop", "images a second of CPU"], rates), table(["else", "takes"], others)]
    return text + "\n\n".join(parts)


def _where(figure: dict[str, Any]) -> str:
    """Return on what a figure was made, and when."""
    made = figure["environment"]
    threads = counted(made.get("threads", made["cores"]), "thread")
    return f"{made['processor']}, {threads}, torch {made['torch']}, {made['date'][:10]}"


def _met(one: dict[str, Any]) -> str:
    return "yes" if one["met"] else "**no**"


def _ablation(found: dict[str, Any]) -> str:
    """Return the section of an ablation."""
    rows = []
    for one in found["rows"]:
        deviation = NONE if one["deviation"] is None else f"{100 * one['deviation']:.2f}"
        minutes = statistics.mean(run["seconds"] for run in found["runs"] if run["variant"] == one["variant"]) / 60
        value, change = f"{100 * one['mean']:.2f} %", f"{100 * one['change']:+.2f}"
        rows.append([one["variant"], str(one["n"]), value, change, deviation, f"{minutes:.1f} min"])
    head = ["variant", "seeds", "mean", "change in points, paired", "its deviation", "training"]
    return f"## Ablation: {found['about']}\n\n    {found['command']}\n\n{table(head, rows)}"


def _section(name: str, figure: dict[str, Any]) -> str:
    text = f"## {_about(figure)}\n\n[{figure['recipe']}](../recipes/{figure['recipe']}.yaml)"
    text += f", tuned on {figure['tuned_on']}."
    if "note" in figure:
        text += f" Note: {figure['note']}."
    text += f" {_where(figure)}. [{name}.json](benchmarks/{name}.json) is made by\n\n    {figure['command']}\n\n"
    stages = [stage["name"] for stage in figure["runs"][0]["stages"]]
    head = ["case and seed", *stages, "change", "BitOps (strict)", "bytes", "training"]
    rows = [_run(figure, one) for one in figure["runs"]]
    rows += [_mean(figure, case, runs) for case, runs in _by_case(figure).items() if len(runs) > 1]
    text += table(head, rows)
    for one in figure.get("targets", ()):
        drop = f"{one['ratio']:.0f}x at {100 * one['drop']:.2f} points"
        text += f"\n\nTarget of {one['case']}: {one['target']}. **{'Met' if one['met'] else 'Missed'}**: {drop}."
        text += f" {one['tried']}" if "tried" in one else ""
    return text


def _run(figure: dict[str, Any], one: dict[str, Any]) -> list[str]:
    stages, last = one["stages"], one["stages"][-1]
    values = [_value(figure, stage["metric_value"]) for stage in stages]
    seconds = sum(stage.get("seconds", 0) for stage in stages)
    name = f"{one.get('case', '')} {one['seed']}".strip()
    ratios = [f"{last['bitops_ratio']:.0f}x", f"1/{last['bytes_ratio']:.1f}"]
    return [name, *values, _change(figure, one)[1], *ratios, f"{seconds / 60:.1f} min" if seconds else NONE]


def _mean(figure: dict[str, Any], case: str, runs: list[dict[str, Any]]) -> list[str]:
    columns = zip(*(one["stages"] for one in runs), strict=True)
    values = [_mean_value(figure, column) for column in columns]
    changes = [_difference(figure, one) for one in runs]
    unit = "%" if _is_error(figure) else "points"
    deviation = f"{statistics.mean(changes):+.2f} {unit} (deviation {statistics.stdev(changes):.2f})"
    last = [one["stages"][-1] for one in runs]
    ratio, size = (statistics.mean(stage[key] for stage in last) for key in ("bitops_ratio", "bytes_ratio"))
    return [f"{case} mean of {len(runs)}".strip(), *values, deviation, f"{ratio:.0f}x", f"1/{size:.1f}", NONE]


def _by_case(figure: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    cases: dict[str, list[dict[str, Any]]] = {}
    for one in figure["runs"]:
        cases.setdefault(one.get("case", ""), []).append(one)
    return cases


def _about(figure: dict[str, Any]) -> str:
    return str(figure.get("about", figure["recipe"]))


def _is_error(figure: dict[str, Any]) -> bool:
    """Return whether the metric is an error, of numbers."""
    return bool(figure.get("metric") == "mae")


def _value(figure: dict[str, Any], value: float) -> str:
    return f"{value:.2f}" if _is_error(figure) else f"{100 * value:.2f} %"


def _mean_value(figure: dict[str, Any], stages: Sequence[dict[str, Any]]) -> str:
    return _value(figure, statistics.mean(stage["metric_value"] for stage in stages))


def _difference(figure: dict[str, Any], one: dict[str, Any]) -> float:
    """Return the change of the metric against the baseline: points of accuracy, or percent of an error."""
    first, last = (one["stages"][place]["metric_value"] for place in (0, -1))
    return 100 * (last / first - 1) if _is_error(figure) else 100 * (last - first)


def _change(figure: dict[str, Any], one: dict[str, Any]) -> tuple[float, str]:
    """Return how much worse a result is than its baseline, for ordering, and that change in words."""
    change = _difference(figure, one)
    if _is_error(figure):
        return change, f"{change:+.1f} %"
    interval = (one["stages"][-1].get("change") or {}).get("ci95")
    low_high = f" ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})" if interval else ""
    return -change, f"{change:+.2f} points{low_high}"
