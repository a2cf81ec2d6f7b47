"""What coc predict-exit does, and coc compress where its recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def predict_and_print(
    target: Path, say: Callable[[str], None], *, printed: bool = True, every: bool = False, **options: Any
) -> Path:
    """Predict exits of a run or checkpoint, with the options of the verb, and print the answer, if `printed`.

    With `every` all tables, too. Returns the folder that holds what was found.
    """
    from coc_cli.exits.request import prepare

    request = prepare(target, **options)
    from coc_cli.exits.predict_exit import predict_exit as run

    outcome = run(request, say=say)
    if printed:
        from coc_cli.printing.policies import print_policies

        print_policies(outcome.report, outcome.directory, every=every)
    return outcome.directory
