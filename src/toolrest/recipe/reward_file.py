"""The file of a user's reward function, read without running it."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from toolrest.errors import InputError, reason, unknown_name
from toolrest.io.foreign import user_path

_SOME = 8
"""Names at most that a message lists."""
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_PLAIN = (ast.Constant, ast.List, ast.Dict)
_BY_NAME = ("__dict__", "exec", "globals", "locals", "modules", "setattr", "vars")
"""What can define a name that is given as a text."""
_OF_RESPONSES = ("prompts", "completions", "completion_ids", "turns", "ending", "trainer_state")
"""What TRL hands to a reward function of what the policy wrote."""
_CALM = sys.stdlib_module_names | {"numpy", "toolrest", "torch", "transformers", "trl"}
"""Packages that change nothing of where Python looks for others as they are imported."""


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
    """Check that a file of Python defines the function that `FILE.py:NAME` names, and has the first
    package that it imports; nothing of it is run.

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
    for found, callable_ in _defined(tree):
        defined[found] = callable_ or defined.get(found, False)
    if name not in defined and not _may_define(tree):
        functions = [
            node.name
            for node in ast.walk(tree)
            if isinstance(node, _SCOPES) and defined.get(node.name) and node.name[0] != "_"
        ]
        if not functions:
            raise InputError(f"reward.function={named}: {path} defines no function; add {name}")
        known = unknown_name("function", name, get_close_matches(name, functions, _SOME, 0.0))
        raise InputError(f"reward.function={named}: {path}: {known}")
    if not defined.get(name, True) and not _may_define(tree):
        raise InputError(f"reward.function={named}: {name} is a value in {path}, not a function")
    _check_imports(named, path, tree)


def reads_environments(named: str) -> bool:
    """Whether the function that `FILE.py:NAME` names has a parameter `environments`, the objects of
    an environment's class in TRL; nothing of the file is run.

    Raises:
        InputError: see `check_reward_file`; or it wants the texts of responses as well, which are
            not where the environments are.
    """
    path, name = split_reward(named)
    check_reward_file(named)
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            asked = {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
            if "environments" not in asked:
                return False
            texts = sorted(asked & set(_OF_RESPONSES))
            if texts:
                raise InputError(
                    f"reward.function={named}: it reads `environments` and `{texts[0]}`, but is "
                    "called in the process of an environment, where only the row's columns are "
                    "known; let it read one of them"
                )
            return True
    return False


def _defined(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """(name, whether it can be called as far as is seen) of everything that the file defines
    outside of functions and classes, under whichever condition; and of what a function has as
    `global`.
    """
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, _SCOPES):
            yield node.name, True
            for inner in ast.walk(node):
                if isinstance(inner, ast.Global):
                    yield from ((each, True) for each in inner.names)
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield (alias.asname or alias.name.partition(".")[0]), True
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, _PLAIN):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            plain = [each for each in targets if isinstance(each, ast.Name)]
            yield from ((each.id, False) for each in plain)
            waiting = [each for each in waiting if each not in plain]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, True
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name is not None:
            yield node.name, True


def _may_define(tree: ast.Module) -> bool:
    """Whether the file may define names that are not seen in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
            return True
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
            return True
        if isinstance(node, ast.Name) and node.id in _BY_NAME:
            return True
        if isinstance(node, ast.Attribute) and node.attr in _BY_NAME:
            return True
    return False


def _check_imports(named: str, path: Path, tree: ast.Module) -> None:
    """Refuse a file whose own imports are not installed. Only those are looked at before which
    nothing is done that can change where Python looks.
    """
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            modules = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            modules = [statement.module] if statement.module and not statement.level else []
        elif _does_nothing(statement):
            continue
        else:
            return
        for package in (module.partition(".")[0] for module in modules):
            if package in _CALM:
                continue
            try:
                there = find_spec(package) is not None
            except (ImportError, ValueError):
                return  # running the file will tell
            if there:
                return  # it may be one that changes where Python looks
            raise InputError(
                f"reward.function={named}: {path} imports {package}, which is not installed"
            )


def _does_nothing(statement: ast.stmt) -> bool:
    """Whether a statement defines a plain function, or is a text or a number, named or not."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        calls = any(isinstance(node, ast.Call) for node in ast.walk(statement.args))
        return not calls and not statement.decorator_list
    if isinstance(statement, ast.Assign):
        named = all(isinstance(each, ast.Name) for each in statement.targets)
        return named and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
