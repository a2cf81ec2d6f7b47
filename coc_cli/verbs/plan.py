"""coc plan: what a recipe would do and cost."""

from __future__ import annotations

from coc_cli.units import printable
from coc_cli.verbs.command import Debug, Overrides, RecipePath, TrustCode, answers


@answers
def plan(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a recipe would do and cost after each stage, without data and training."""
    from coc_cli.recipe.reading import read

    file = read(recipe, tuple(overrides), trust_code=trust_code, data_may_be_absent=True)
    for path in file.code_files:
        print(f"runs the code in '{printable(path)}', which the recipe names", flush=True)
    from coc_cli.chain.plan import make_plan
    from coc_cli.printing.plan import print_plan

    print_plan(make_plan(file), file)
