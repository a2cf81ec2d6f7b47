"""Verbs: the commands of coc. One line a verb, in the order in which `coc --help` lists them."""

from __future__ import annotations

import typer

from coc_cli.verbs.init import init
from coc_cli.verbs.compress import compress
from coc_cli.verbs.evaluate import evaluate
from coc_cli.verbs.plan import plan
from coc_cli.verbs.order import order
from coc_cli.verbs.predict_exit import predict_exit
from coc_cli.verbs.report import report
from coc_cli.verbs.export import export
from coc_cli.verbs.run import run
from coc_cli.verbs.bench import bench
from coc_cli.verbs.profiles import profiles
from coc_cli.verbs.cache import cache
from coc_cli.verbs.schema import schema
from coc_cli.verbs.inspect import inspect

VERBS = {
    name.replace("_", "-"): value
    for name, value in list(vars().items())
    if isinstance(value, typer.Typer) or hasattr(value, "__wrapped__")  # what `answers` has wrapped
}
