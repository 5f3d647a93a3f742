"""The site's list of messages, read from the source: what a run is refused with, word by word.

The texts are those of `InputError` and `BadRow`, and of the doctor's problems and warnings. What a
message fills in stands as `{name}`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

AREAS = {
    "recipe": "Recipes and settings",
    "data": "Rows and data sets",
    "policy": "Policies: weights, tokenizers, adapters",
    "environments": "Environments",
    "runs": "Runs: resuming, checkpoints, folders",
    "preflight.py": "Before a run starts",
    "engines/common": "Training",
    "engines/trl": "Training with TRL",
    "engines/verl": "Training with verl",
    "rollout": "Sampling",
    "core": "Dialects, rewards, weights",
    "world": "The embedded worlds",
    "estimate": "Memory and time",
    "evaluate": "Evaluation",
    "experiments": "Comparisons, variance, gain",
    "report": "Inspection and report",
    "doctor": "toolrest doctor",
    "chat": "toolrest chat",
    "export": "toolrest export",
    "io": "Files, the hub, keys",
    "cli": "The command line",
}
"""A folder or file of src/toolrest, and what its messages are about, in the page's order."""
_RAISED = (
    "InputError",
    "BadRow",
    "RewardError",
    "TemplateRefusal",
    "EndlessTemplate",
    "TakenError",
)
_BAD = ("PROBLEM", "WARNING")
_SHORTEST = 25
_HEAD = """# Every message

What toolrest refuses, in its own words, by what it is about; [troubleshooting](troubleshooting.md)
says why, and how to mend the usual ones. What a message fills in stands here as `{name}`. Where one
thing mends it, a message ends with that. This page is read from the source as the site is built.
"""


@dataclass(frozen=True)
class Message:
    """A text that a user may get."""

    path: str
    """The file that says it, from src/toolrest."""
    text: str
    """Its words; what is filled in stands in braces."""


def messages_page(root: Path) -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    found = messages(root)
    for area, title in AREAS.items():
        texts = dict.fromkeys(each.text for each in found if area_of(each.path) == area)
        if texts:
            parts += [f"## {title}\n", *(f"- {_code(text)}" for text in texts), ""]
    return "\n".join(parts)


@cache
def messages(root: Path) -> list[Message]:
    """Every message of src/toolrest, file by file."""
    return [Message(path, text) for path, tree in _trees(root) for text in _texts(tree)]


def source_texts(root: Path) -> list[str]:
    """Every text in src/toolrest, messages or not; what is filled in stands in braces."""
    return [
        text
        for _, tree in _trees(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr) and (text := _words(node))
    ]


@cache
def _trees(root: Path) -> list[tuple[str, ast.Module]]:
    """(path from src/toolrest, what Python reads) of each file."""
    home = root / "src" / "toolrest"
    return [
        (path.relative_to(home).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(home.rglob("*.py"))
    ]


def _texts(tree: ast.Module) -> Iterator[str]:
    """A file's messages. Where it raises what was put together before, its other texts of two
    parts (what is wrong; how to mend it) are messages, too.
    """
    indirect = False
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else _name(node.func)
        if name in _RAISED:
            said = _words(node.args[0])
            indirect = indirect or said is None
            yield from (said,) if said and " " in re.sub(r"{[^}]*}", "", said).strip() else ()
        elif name == "Check" and any(_name(each) in _BAD for each in node.args):
            said = [_words(each) for each in node.args[2:4]]
            yield from () if None in said else ("; ".join(filter(None, said)),)
    if indirect:
        yield from _of_two_parts(tree)


def _of_two_parts(tree: ast.Module) -> Iterator[str]:
    documented = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # docstrings
    within = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Call)
        and (isinstance(node, ast.JoinedStr) or _name(node.func) in _RAISED)
        for inner in ast.walk(node)
        if inner is not node
    }
    for node in ast.walk(tree):
        if id(node) in documented or id(node) in within:
            continue
        said = _words(node) if isinstance(node, ast.Constant | ast.JoinedStr) else None
        if said and len(said) >= _SHORTEST and _mends(said):
            yield said


def _mends(text: str) -> bool:
    """Whether a text reads as a message: something is wrong with what is named; what to do."""
    named = "; " in text or (": " in text and re.search("[={]|--", text))
    return bool(named) and not text.endswith((".", ";"))


def _words(node: ast.expr) -> str | None:
    """The text of a literal; None where it is no text that can be read here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{_named(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return None


def _named(node: ast.expr) -> str:
    """A short name for what is filled in: the last name in its expression."""
    called = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    parts = [each for each in ast.walk(node) if isinstance(each, ast.Attribute | ast.Name)]
    names = [_name(each) for each in parts if id(each) not in called] or list(map(_name, parts))
    return names[0].strip("_").lower() if names else ".."


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def area_of(path: str) -> str:
    """The key of `AREAS` that a file belongs to; empty if none."""
    return max((each for each in AREAS if path.startswith(each)), key=len, default="")


def _code(text: str) -> str:
    """Markdown's code of a text, in one line."""
    text = " ".join(text.split())
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
