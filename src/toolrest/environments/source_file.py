"""The file of a user's environment, read without running it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolrest.errors import InputError, reason, unknown_name

_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
NO_TOOLS = ("reset", "get_reward", "close", "state")
"""Methods of a class as TRL has them that are no tools."""
_PLAIN_BASES = ("object", "Environment", "Protocol")


def check_file(path: Path, name: str, where: str) -> None:
    """Check that a file of Python defines a name that can be an environment.

    Args:
        name: empty: its public functions are the tools.
        where: begins errors, such as `environment.source=bank.py:Bank`.

    Raises:
        InputError: it does not, or cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        line = f"line {error.lineno}" if error.lineno else "a line"
        raise InputError(f"{where}: {path} is not Python ({line}: {error.msg}); mend it") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: {path} cannot be read ({reason(error)})") from error
    defined = list(_defined(tree))
    public = {node.name: node for node in defined if not node.name.startswith("_")}
    if not name:
        _check_tools(path, public, where)
        return
    node = {node.name: node for node in defined}.get(name)
    if node is None:
        _check_inside(tree, path, name, where)
        if _may_define(tree, name):
            return
        if not public:
            raise InputError(f"{where}: {path} defines no class or function; add {name}")
        known = unknown_name("class or function", name, public)
        raise InputError(f"{where}: {path}: {known}")
    if isinstance(node, ast.ClassDef):
        _check_class(path, node, where)


def tools_in_file(path: Path, name: str) -> list[str]:
    """The tools that a file of Python seems to offer; its `reset` may say others.

    Args:
        name: as for `check_file`, which has found nothing wrong.
    """
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(path.read_bytes(), str(path))
    defined = list(_defined(tree))
    if name:
        defined = [node for node in defined if node.name == name]
    found: list[str] = []
    for node in defined:
        if isinstance(node, ast.ClassDef) and name:
            methods = [each for each in node.body if not isinstance(each, ast.ClassDef)]
            inside = [each for each in methods if isinstance(each, _DEFINES)]
            if any(each.name == "call" for each in inside):
                return []
            found += [
                each.name
                for each in inside
                if each.name not in NO_TOOLS and ast.get_docstring(each)
            ]
        elif not isinstance(node, ast.ClassDef):
            found.append(node.name)
    return [each for each in found if not each.startswith("_")]


def _check_inside(tree: ast.Module, path: Path, name: str, where: str) -> None:
    """Refuse a name that is defined inside of a function, where nobody else can have it."""
    for outer in ast.walk(tree):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(outer):
                if node is not outer and isinstance(node, _DEFINES) and node.name == name:
                    raise InputError(
                        f"{where}: {name} is inside of the function {outer.name} in {path} (line "
                        f"{node.lineno}); move it to the top of the file"
                    )


def _check_tools(path: Path, public: Mapping[str, ast.stmt], where: str) -> None:
    if any(not isinstance(node, ast.ClassDef) for node in public.values()):
        return
    if public:
        name = next(iter(public))
        raise InputError(f"{where}: {path} has no functions; its class is {path.name}:{name}")
    raise InputError(f"{where}: {path} has no public functions; each is a tool")


def _check_class(path: Path, node: ast.ClassDef, where: str) -> None:
    """Refuse a class without `reset`, where no base may have it."""
    bases = [base.id if isinstance(base, ast.Name) else "?" for base in node.bases]
    if any(base not in _PLAIN_BASES for base in bases) or node.decorator_list:
        return
    names = {each.name for each in node.body if isinstance(each, _DEFINES)}
    names |= {
        target.id
        for each in node.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    if "reset" not in names:
        raise InputError(
            f"{where}: the class {node.name} in {path} has no method `reset`, which begins an "
            "episode; add it"
        )


def _defined(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes outside of functions and classes, under whichever condition."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, _DEFINES):
            yield node
        else:
            waiting += ast.iter_child_nodes(node)


def _may_define(tree: ast.Module, name: str) -> bool:
    """Whether a name is imported, assigned, or may come by a way that is not seen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if name in found or "*" in found:
                return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return True
        if isinstance(node, ast.Name) and node.id in ("globals", "exec", "setattr"):
            return True
    return False
