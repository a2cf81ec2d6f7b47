"""The page: one HTML file with everything in it, nothing loaded, no script."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.report import wording
from coc_cli.report.charts.answers import answers
from coc_cli.report.charts.benefit import benefit, benefit_table, savings, sensitivity
from coc_cli.report.charts.figure import Figure, Table
from coc_cli.report.charts.latency import latency
from coc_cli.report.charts.layers import layers, training
from coc_cli.report.charts.predictions import energy, policies
from coc_cli.report.charts.stages import exits, trade_off, waterfall
from coc_cli.report.charts.timelines import Timeline, timelines
from coc_cli.report.comparison import Difference, differences, remarks, settings
from coc_cli.report.model import PredictionView, Run

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
MOST_IMAGES = 150_000  # characters of images on one page
WHOLE = 3  # so many runs on one page are shown with layers, training and predictions


@dataclass(frozen=True)
class Device:
    """A prediction with its figures."""

    prediction: PredictionView
    figures: tuple[Figure, ...]
    savings: Table | None
    benefit: Table | None
    benefit_figures: tuple[Figure, ...]
    timelines: tuple[Timeline, ...]


@dataclass(frozen=True)
class PageSection:
    """A run with its figures."""

    run: Run
    figures: tuple[Figure, ...]
    devices: tuple[Device, ...]
    is_whole: bool
    latency: Table | None


def html(runs: tuple[Run, ...]) -> str:
    """Return the page of one run, or of several with their differences."""
    is_whole = len(runs) <= WHOLE
    return template("page.html").render(
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        runs=runs,
        parts=[_part(run, is_whole=is_whole, is_alone=len(runs) == 1) for run in runs],
        trade_off=trade_off(runs) if len(runs) > 1 else None,
        differences=_differences(runs),
        remarks=remarks(differences(runs)),
        settings=settings(runs) if len(runs) > 1 else (),
        w=wording,
        again=again,
        prediction_command=prediction_command,
    )


@cache  # compiling it takes ten times as long as a page
def template(name: str) -> Template:
    """Return a template, ready to be filled in."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _part(run: Run, *, is_whole: bool, is_alone: bool) -> PageSection:
    figures = [
        waterfall(run),
        trade_off([run]) if is_alone else None,
        exits(run, run.stages[-1]) if run.stages else None,
    ]
    if is_whole:
        figures += [*answers(run.answers), training(run)]
        figures += layers(run.stages[0], run.stages[-1]) if len(run.stages) > 1 else ()
    devices = tuple(_devices(run)) if is_whole else ()
    return PageSection(run, _there(figures), devices, is_whole, latency(run))


def _there(figures: list[Figure | None]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _devices(run: Run) -> Iterator[Device]:
    left = MOST_IMAGES
    for prediction in run.predictions:
        size = sum(len(one.png) for one in prediction.examples)
        if size > left:
            prediction = replace(prediction, examples=tuple(replace(one, png="") for one in prediction.examples))  # noqa: PLW2901
        else:
            left -= size
        yield Device(
            prediction,
            figures=_there([policies(prediction), energy(prediction)]),
            savings=savings(prediction),
            benefit=benefit_table(prediction),
            benefit_figures=_there([benefit(prediction), sensitivity(prediction)]),
            timelines=timelines(prediction),
        )


def _differences(runs: tuple[Run, ...]) -> list[tuple[Run, Difference | None]]:
    return list(zip(runs, [None, *differences(runs)], strict=True)) if len(runs) > 1 else []


def again(run: Run) -> str:
    """Return the command that makes a run again from its own recipe."""
    return shlex.join(
        ["coc", "compress", str(Path(run.directory) / "recipe.yaml"), "--fresh", "--out", f"{run.directory}-again"]
    )


def prediction_command(run: Run, prediction: PredictionView) -> str:
    """Return the command that makes a prediction again."""
    words = ["coc", "predict-exit", run.directory, "--profile", prediction.profile]
    return shlex.join([*words, *(["--deadline", prediction.deadline] if prediction.deadline else [])])
