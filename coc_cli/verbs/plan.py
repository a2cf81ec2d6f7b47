"""coc plan: what a recipe would do and cost."""

from __future__ import annotations

from coc_cli.units import printable
from coc_cli.verbs.command import AsJson, Debug, Overrides, RecipePath, TrustCode, answers, one_object, results


@answers
def plan(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a recipe would do and cost, stage by stage. Needs neither data nor training."""
    from coc_cli.recipe.reading import read

    with results(as_json=as_json) as stdout:
        file = read(recipe, tuple(overrides), trust_code=trust_code, data_may_be_absent=True)
        for path in file.code_files:
            print(f"runs the code in '{printable(path)}', which the recipe names", flush=True)
        from coc_cli.chain.plan import make_plan
        from coc_cli.chain.speeds import estimated_seconds

        found = make_plan(file)
        seconds = estimated_seconds(file, found)
        if as_json:
            from coc_cli.chain.plan_report import plan_report
            from coc_cli.report.schema.part import as_data

            stdout.write(one_object(as_data(plan_report(found, file, seconds))))
        else:
            from coc_cli.printing.plan import print_plan

            print_plan(found, file, seconds)
