"""The file of a user's reward function, read without running it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from toolrest.errors import InputError, reason, unknown_name
from toolrest.io.foreign import user_path

_SOME = 8
"""Names at most that a message lists."""


def split_reward(named: str) -> tuple[Path, str]:
    """The file and the name in `FILE.py:NAME`.

    Raises:
        InputError: it has another form, or there is no such file.
    """
    file, colon, name = named.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        written = "FILE.py:NAME, as in rewards.py:brevity"
        raise InputError(f"reward.function={named}: it is written {written}")
    path = user_path(file, f"reward.function={named}")
    if path.is_dir():
        raise InputError(f"reward.function={named}: {path} is a folder; name the .py file in it")
    if not path.is_file():
        raise InputError(f"reward.function={named}: there is no file {path}")
    return path, name


def check_reward_file(named: str) -> None:
    """Check that a file of Python defines the function that `FILE.py:NAME` names, and that what it
    imports is installed; nothing of it is run.

    Raises:
        InputError: it does not, or cannot be read.
    """
    path, name = split_reward(named)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        where = f"line {error.lineno}" if error.lineno else "a line"
        raise InputError(
            f"reward.function={named}: {path} is not Python ({where}: {error.msg}); mend it"
        ) from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        why = reason(error)
        raise InputError(f"reward.function={named}: {path} cannot be read ({why})") from error
    defined: dict[str, bool] = {}
    for statement in _top_level(tree):
        for found, callable_ in _defined(statement):
            defined[found] = callable_
    if name not in defined and "*" not in defined:
        functions = [each for each, can in defined.items() if can and not each.startswith("_")]
        if not functions:
            raise InputError(f"reward.function={named}: {path} defines no function; add {name}")
        known = unknown_name("function", name, functions[:_SOME])
        raise InputError(f"reward.function={named}: {path}: {known}")
    if not defined.get(name, True):
        raise InputError(f"reward.function={named}: {name} is a value in {path}, not a function")
    _check_imports(named, path, tree)


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements outside of functions and classes, those within `if`, `try` and `with` too."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop(0)
        yield statement
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                waiting += getattr(statement, field, [])
        for handler in getattr(statement, "handlers", []):
            waiting += handler.body


def _defined(statement: ast.stmt) -> Iterator[tuple[str, bool]]:
    """(name, whether it can be called as far as is seen) of what a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name, True
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield (alias.asname or alias.name.partition(".")[0]), True
    else:
        plain = isinstance(getattr(statement, "value", None), ast.Constant | ast.List | ast.Dict)
        targets = [
            node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        for target in targets:
            yield target, not plain


def _check_imports(named: str, path: Path, tree: ast.Module) -> None:
    """Refuse a file whose own imports, outside of a `try`, are not installed; one that changes
    where Python looks is left alone.
    """
    if any(isinstance(node, ast.Attribute) and _is_sys_path(node) for node in ast.walk(tree)):
        return
    modules: list[str] = []
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            modules += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            modules.append(statement.module)
    for package in dict.fromkeys(module.partition(".")[0] for module in modules):
        try:
            there = find_spec(package) is not None
        except (ImportError, ValueError):
            continue  # running the file will tell
        if not there:
            raise InputError(
                f"reward.function={named}: {path} imports {package}, which is not installed"
            )


def _is_sys_path(node: ast.Attribute) -> bool:
    return node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys"
