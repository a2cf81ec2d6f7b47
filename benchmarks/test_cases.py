"""Whether the tests of one version are still there in another: functions, cases and asserts.

Not a test; whoever moves tests about runs it:

    python benchmarks/test_cases.py OLD_CHECKOUT NEW_CHECKOUT

Functions are matched by name, and where several have one name by their file's. A test's asserts are its own (`assert`,
`pytest.raises`, `pytest.approx`, `check=True` of a subprocess) and those of the functions in its file and in
tests/helpers that it names, each time that it names them. A test that is gone, or has fewer asserts or cases than
before, must stand in COVERED_BY; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COVERED_BY = {
    # the layers of the package came to be those of its folders, and circles between files a test of their own
    "test_no_module_imports_upward": "test_no_file_imports_from_a_folder_above_or_beside_its_own",
    "test_torch_is_imported_late_where_the_user_waits": "test_torch_waits_where_the_user_does",
}
ASSERTING = {"raises", "approx", "fail", "assert_close"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class TestFunction:
    """A test function, its file's path below tests/, and how many asserts and cases it has."""

    name: str
    path: str
    asserts: int
    cases: int

    @property
    def file(self) -> str:
        """Return the file's name."""
        return Path(self.path).name


def functions(tree: ast.AST) -> dict[str, Function]:
    """Return the functions and methods of a file but its fixtures by name, methods as Class.name."""
    found: dict[str, Function] = {}
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}": inner for inner in node.body if isinstance(inner, Function)}
    return {name: function for name, function in found.items() if not is_fixture(function)}


def asserts(function: Function, known: dict[str, Function], above: tuple[str, ...] = ()) -> int:
    """Return the asserts of a function and of those that it names."""
    total = 0
    for node in ast.walk(function):
        total += is_assert(node)
        if isinstance(node, ast.Name) and node.id in known and node.id not in (*above, function.name):
            total += asserts(known[node.id], known, (*above, function.name))
    return total


def is_assert(node: ast.AST) -> bool:
    """Return whether a node fails a test that is wrong."""
    if isinstance(node, ast.keyword):
        return node.arg == "check" and ast.unparse(node.value) == "True"
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr in ASSERTING)


def is_fixture(function: Function) -> bool:
    """Return whether a function makes what tests need, by its name an argument of theirs."""
    return any(ast.unparse(decorator).startswith("pytest.fixture") for decorator in function.decorator_list)


def collected(checkout: Path) -> Counter[tuple[str, str]]:
    """Return how many cases each test function has, by path and name."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: pytest cannot collect\n{done.stdout[-2000:]}{done.stderr}")
    cases = (line.partition("[")[0].split("::") for line in done.stdout.splitlines() if "::" in line)
    return Counter((path.removeprefix("tests/"), ".".join(names)) for path, *names in cases)


def tests(checkout: Path) -> Iterator[TestFunction]:
    """Yield the test functions of a checkout."""
    cases = collected(checkout)
    folder = checkout / "tests"
    helpers: dict[str, Function] = {}
    for path in folder.glob("helpers/*.py"):
        helpers |= functions(ast.parse(path.read_text()))
    for path in sorted(folder.rglob("test_*.py")):
        own = functions(ast.parse(path.read_text()))
        for name, function in own.items():
            place = path.relative_to(folder).as_posix()
            if name.rpartition(".")[2].startswith("test_"):
                assert cases[place, name], f"{place}: pytest does not collect {name}"
                yield TestFunction(name, place, asserts(function, {**helpers, **own}), cases[place, name])


def paired(old: list[TestFunction], new: list[TestFunction]) -> Iterator[tuple[TestFunction, TestFunction | None]]:
    """Yield each old test with its namesake, of the same file name if there are several, None where there is none."""
    left: dict[str, list[TestFunction]] = defaultdict(list)
    for one in new:
        left[one.name].append(one)
    for one in sorted(old, key=lambda one: all(one.file != other.file for other in left[one.name])):
        namesakes = left[one.name]
        same = next((other for other in namesakes if other.file == one.file), None) or next(iter(namesakes), None)
        if same is not None:
            namesakes.remove(same)
        yield one, same


def faults(old: list[TestFunction], new: list[TestFunction]) -> Iterator[str]:
    """Yield what the new tests lack and COVERED_BY does not say."""
    names = {one.name for one in new}
    for one, other in paired(old, new):
        covering = COVERED_BY.get(one.name)
        if covering is not None and covering not in names:
            yield f"{one.name}: is said to be covered by {covering}, which is not there"
        if covering is not None:
            print(f"  {one.path}: {one.name} ({one.asserts} asserts, {one.cases} cases) is covered by {covering}")
        elif other is None:
            yield f"{one.path}: {one.name} is gone ({one.asserts} asserts, {one.cases} cases)"
        elif other.asserts < one.asserts:
            yield f"{other.path}: {one.name} has {other.asserts} asserts, had {one.asserts}"
        elif other.cases < one.cases:
            yield f"{other.path}: {one.name} has {other.cases} cases, had {one.cases}"


def main() -> int:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    sides = {name: list(tests(getattr(arguments, name).resolve())) for name in ("old", "new")}
    for name, found in sides.items():
        counts = f"{len(found)} functions, {sum(one.cases for one in found)} cases"
        print(f"{name}: {counts}, {sum(one.asserts for one in found)} asserts")
    said = list(faults(sides["old"], sides["new"]))
    names = {one.name for one in sides["old"]}
    print(f"  new: {', '.join(sorted(one.name for one in sides['new'] if one.name not in names)) or 'none'}")
    print("\n".join(said) or "nothing is lost")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
