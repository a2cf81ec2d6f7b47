"""What `coc init` prints."""

from __future__ import annotations

from coc_cli.chain.draft import Written
from coc_cli.printing.table import print_line


def print_draft(written: Written) -> None:
    """Print what was guessed and left out, and what to run next."""
    draft, path = written.draft, written.path
    for key, why in draft.data.guesses.items():
        print_line(f"data.{key}: {draft.data.section[key]} ({why})")
    for stage, why in draft.left_out.items():
        print_line(f"{stage} is left out: {why}")
    for note in written.plan.steps[0].notes:
        print_line(f"note: {note}")
    verbs = ("evaluate", "plan", "compress") if draft.checkpoint else ("plan", "compress")
    print_line(f"recipe: {path}   next: {'   '.join(f'coc {verb} {path}' for verb in verbs)}")
