"""The shape of the package in numbers, and whether it keeps its limits; CI runs it.

python benchmarks/house.py           print the numbers
python benchmarks/house.py --check   and end with 1 where a limit is passed
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))
from import_graph import circles, graph  # noqa: E402  (the same graph as the test of imports)

LINES = 38_400  # of the package, tests not counted: raised knowingly, in a commit of its own; delete first


@dataclass(frozen=True)
class Figure:
    """One number and the limit that it keeps."""

    name: str
    value: float
    limit: float | None = None

    @property
    def is_kept(self) -> bool:
        return self.limit is None or self.value <= self.limit


def percentile(values: list[int], percent: int) -> float:
    """Return the value that so many percent of values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a file."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def inner_imports(tree: ast.AST) -> int:
    """Count the import statements inside functions, each once."""
    found = set()
    for function in functions(tree):
        found |= {node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)}
    return len(found)


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Yield the docstrings of a file's functions."""
    yield from (text for function in functions(tree) if (text := ast.get_docstring(function)))


def figures(package: Path) -> list[Figure]:
    """Return all numbers of a package."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    sizes = [path.read_text().count("\n") for path in trees]
    filled = [size for size in sizes if size]
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for tree in trees.values() for node in functions(tree)]
    texts = [text for tree in trees.values() for text in docstrings(tree)]
    return [
        Figure("lines", sum(sizes), LINES),
        Figure("files", len(sizes)),
        Figure("loose files at the top", len(list(package.glob("*.py"))), 9),
        Figure("circles of imports", len(circles(graph(package))), 0),
        Figure("lines of a file, median", statistics.median(filled), 120),
        Figure("lines of a file, 95th percentile", percentile(filled, 95), 290),
        Figure("lines of a file, most", max(sizes)),
        Figure("functions", len(lengths)),
        Figure("lines of a function, median", statistics.median(lengths)),
        Figure("lines of a function, 95th percentile", percentile(lengths, 95)),
        Figure("functions over 50 lines", sum(length > 50 for length in lengths), 0),
        Figure('docstrings that open with "Give"', sum(text.startswith(("Give ", "Gives ")) for text in texts), 0),
        Figure("imports inside functions", sum(map(inner_imports, trees.values())), 205),
    ]


def main() -> int:
    """Print the numbers; with --check return 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("package", type=Path, nargs="?", default=ROOT / "coc_cli")
    asked = parser.parse_args()
    found = figures(asked.package)
    for one in found:
        limit = "" if one.limit is None else f"  (at most {one.limit:,})"
        print(f"{one.value:>8,.10g}  {one.name}{limit}{'' if one.is_kept else '  OVER'}")
    return int(asked.check and not all(one.is_kept for one in found))


if __name__ == "__main__":
    sys.exit(main())
