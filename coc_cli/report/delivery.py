"""`coc report`: from directories and a format to text, printed or in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coc_cli.errors import did_you_mean, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.report.model import Run
from coc_cli.report.read.run import holds_run, read_runs

Renderer = Callable[[tuple[Run, ...]], str]
PAGE = "report.html"
ENDINGS = {"terminal": "txt", "junit": "xml"}


def deliver(directories: list[Path], form: str, out: Path | None) -> str | Path:
    """Return the report of some runs: its text, or the file that holds it now.

    HTML without `out` becomes report.html in the run directory, or here if there are several runs. Raises `UserError`
    for a format that is none, directories that are no runs or given twice, and a file that cannot be written.
    """
    render = _renderer(form)
    if out is not None and out.is_dir():
        raise user_error(
            "--out", f"'{out}' is a directory; name the file, e.g. {out / f'report.{ENDINGS.get(form, form)}'}"
        )
    text = render(read_runs(directories))
    if form == "html" and out is None:
        out = directories[0] / PAGE if len(directories) == 1 else Path(PAGE)
    if out is None:
        return text
    try:
        write_atomically(out, text.encode())
    except OSError as error:
        raise user_error(out, f"cannot be written: {error.strerror}; choose another with --out") from error
    return out


def _renderer(form: str) -> Renderer:
    from coc_cli.report import texts
    from coc_cli.report.junit import junit
    from coc_cli.report.page import html
    from coc_cli.report.terminal import terminal

    renderers: dict[str, Renderer] = {
        "terminal": terminal,
        "html": html,
        "md": texts.markdown,
        "csv": texts.csv_text,
        "json": texts.data,
        "junit": junit,
    }
    if form not in renderers:
        raise user_error("--format", f"no such format '{form}'; {did_you_mean(form, renderers)}")
    return renderers[form]


def page_of(directory: Path) -> Path:
    """Return the page on which a run directory, or the folder of a prediction, is shown."""
    above = directory.parent.parent
    return (above if directory.parent.name == "predict-exit" and holds_run(above) else directory) / PAGE


def write_page_for(directory: Path, say: Callable[[str], Any]) -> None:
    """Write the page on which a run directory, or the folder of a prediction, is shown.

    A fault is said in one line and costs nothing else: what the run found is there, and the page can be made again.
    """
    page = page_of(directory)
    try:
        deliver([page.parent], "html", None)
    except Exception as error:  # noqa: BLE001  (whatever it is)
        what = (str(error).splitlines() or [""])[0]
        say(f"{page} was not written: {type(error).__name__}: {what}")
