"""coc schema: JSON Schemas of recipes and of files."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from coc_cli.errors import did_you_mean, user_error
from coc_cli.verbs.command import Debug, answers


@answers
def schema(
    of: Annotated[
        str,
        typer.Option(
            "--of", metavar="FILE", help="recipe, report, predict-exit, schedule, plan, inspect, evaluate or order"
        ),
    ] = "recipe",
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of recipes, or of what coc writes. Editors check and complete YAML by it."""
    from coc_cli.recipe.model import schema as recipe_schema
    from coc_cli.report.schema import FILES, part

    if of not in ("recipe", *FILES):
        raise user_error("--of", f"no such schema '{of}'; {did_you_mean(of, ('recipe', *FILES))}")
    print(json.dumps(recipe_schema() if of == "recipe" else part.json_schema(FILES[of]), indent=2))
