"""The page in a real browser, on a phone and on a desk: no error, nothing loaded, nothing wider than the window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from coc_cli.report.delivery import deliver

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (390, 1280)
UNNAMED = "[...document.querySelectorAll('svg, img')].filter(e => !(e.getAttribute('aria-label') || e.alt)).length"
WIDER = """
[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest('.scroll') && !e.closest('pre') && !e.closest('svg')).map(e => e.tagName + '.' + e.className)
"""
TEXTS_OUTSIDE = """
[...document.querySelectorAll('figure svg')].flatMap(svg => { const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();
    return b.width && (b.left < box.left - 2 || b.right > box.right + 2 || b.top < box.top - 2 || b.bottom > box.bottom + 2) })
    .map(t => t.textContent) })
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"there is no browser here; looked for {', '.join(BROWSERS)}")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


def look(browser: Any, file: Path, width: int, scheme: str = "light") -> None:
    """Open a page and check all that a browser can tell."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.resolve().as_uri())
    assert page.evaluate("document.querySelectorAll('svg').length") >= 2
    for opened in (False, True):
        page.evaluate(f"document.querySelectorAll('details').forEach(d => d.open = {str(opened).lower()})")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(WIDER) == []
    assert page.evaluate(TEXTS_OUTSIDE) == []
    assert page.evaluate(UNNAMED) == 0
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [file.resolve().as_uri()]
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_run(browser: Any, width: int, small: Path) -> None:
    file = Path(deliver([small], "html", None))
    look(browser, file, width)
    look(browser, file, width, "dark")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_two_runs(browser: Any, width: int, small: Path, other: Path) -> None:
    look(browser, Path(deliver([small, other], "html", None)), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_and_a_damaged_run(browser: Any, width: int, small: Path) -> None:
    long = "a_very_long_name_without_any_place_to_break_" * 4
    layers = [{**layer, "name": f"{long}{index}"} for index, layer in enumerate(fake_runs.BASELINE["layers"])]
    stages = [{**fake_runs.BASELINE, "layers": layers}, {**fake_runs.QUANTIZE, "name": long, "layers": layers}]
    folder = fake_runs.run(small.parent / "long", fake_runs.report(long, stages=stages, command=long))
    (folder / "recipe.yaml").write_text("a: [")
    look(browser, Path(deliver([folder], "html", None)), width)
    look(browser, Path(deliver([folder, small], "html", None)), width)


@pytest.mark.full
@pytest.mark.parametrize("width", WIDTHS)
def test_the_quickstarts_page(browser: Any, width: int, quickstart: Path) -> None:
    look(browser, quickstart / "report.html", width)


def test_it_prints(browser: Any, small: Path) -> None:
    page = browser.new_page()
    page.goto(Path(deliver([small], "html", None)).resolve().as_uri())
    printed = page.pdf(format="A4")
    page.close()
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 12
