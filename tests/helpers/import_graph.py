"""Which file of the package imports which: every import counts, in functions too, but for `if TYPE_CHECKING:`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

NAME = "coc_cli"


class _AtRuntime(ast.NodeTransformer):
    """Leaves out `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if is_for_types else self.generic_visit(node)


def runtime_tree(path: Path) -> ast.AST:
    """Return the syntax tree of what a file does when it runs."""
    return _AtRuntime().visit(ast.parse(path.read_text()))


def module_of(path: Path, package: Path) -> str:
    """Return a file's module below the package: 'nets.spec', 'stages' for stages/__init__.py, '' for the package's."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(package: Path) -> dict[str, set[str]]:
    """Return, for each module of the package, the modules that it imports."""
    paths = {module_of(path, package): path for path in package.rglob("*.py")}
    return {module: set(_imports(path, set(paths))) - {module} for module, path in paths.items()}


def _imports(path: Path, modules: set[str]) -> Iterator[str]:
    for node in ast.walk(runtime_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (_below(name) for name in names if name == NAME or name.startswith(f"{NAME}."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not looked at"
            if node.module == NAME or (node.module or "").startswith(f"{NAME}."):
                base = _below(str(node.module))
                for alias in node.names:
                    inner = f"{base}.{alias.name}".removeprefix(".")
                    yield inner if inner in modules else base


def _below(name: str) -> str:
    return name.removeprefix(NAME).removeprefix(".")


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that import each other, directly or not (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(edges.get(module, ())):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for module in sorted(edges):
        if module not in index:
            visit(module)
    return found


def top_graph(package: Path) -> dict[str, set[str]]:
    """Return what each module imports as it is imported: no import in a function counts; of libraries the name."""
    paths = {module_of(path, package): path for path in package.rglob("*.py")}
    return {module: set(_top_imports(path, set(paths))) - {module} for module, path in paths.items()}


def _top_imports(path: Path, modules: set[str]) -> Iterator[str]:
    tree = runtime_tree(path)
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            node.body = [] if not isinstance(node, ast.Lambda) else ast.Constant(None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not alias.name.startswith(NAME))
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            if not module.startswith(NAME):
                yield module
                continue
            for alias in node.names:
                inner = f"{_below(module)}.{alias.name}".removeprefix(".")
                target = inner if inner in modules else _below(module)
                yield target
                yield from _parents(target, modules)


def _parents(module: str, modules: set[str]) -> Iterator[str]:
    """Yield the packages that importing a module imports too."""
    parts = module.split(".")
    yield from (name for end in range(1, len(parts)) if (name := ".".join(parts[:end])) in modules)


def reaches(edges: dict[str, set[str]], start: str) -> set[str]:
    """Return all that importing a module imports."""
    seen: set[str] = set()
    left = [start]
    while left:
        new = edges.get(left.pop(), set()) - seen
        seen |= new
        left += new
    return seen
