"""Write docs/commands.md, every command with its arguments and options, from the command line.

python scripts/command_reference.py
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from toolrest.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
_HEAD = """# Every command

`toolrest COMMAND -h` says the same in the terminal. Wherever a command takes `[KEY=VALUE]...`,
these are [keys of a recipe](recipe.md). A command ends with 0 where it did its work, and with 2
where its input is refused, in one line that says what, where and how to mend it
([troubleshooting](troubleshooting.md)). This page is written by
`python scripts/command_reference.py` from the commands themselves.
"""


def reference() -> str:
    """The page."""
    program = typer.main.get_command(app)
    return "\n".join([_HEAD, *_commands(program, "toolrest")]).rstrip("\n") + "\n"


def _commands(group: Any, said: str) -> Iterator[str]:
    """The commands of a group; those of a group in it by their whole name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{said} {name}")
        else:
            yield from _command(command, f"{said} {name}")


def _command(command: Any, said: str) -> Iterator[str]:
    taken = [each for each in command.params if "--help" not in each.opts and not each.hidden]
    yield f"## {said}\n"
    yield f"{_text(command.help)}\n"
    yield f"```console\n{' '.join([said, *filter(None, map(_usage, taken))])}\n```\n"
    if taken:
        yield "| | value | usual | |\n| --- | --- | --- | --- |"
        kinds = get_type_hints(inspect.unwrap(command.callback))
        yield from (_row(each, kinds[each.name]) for each in taken)
        yield ""
    examples = (command.epilog or "").split("\n\n")[1:]
    if examples:
        yield "\n".join(("For example:\n\n```console", *examples, "```\n"))


def _usage(parameter: Any) -> str:
    """What stands for an argument in the line of a command, and for an option that is due."""
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        return name if parameter.required or parameter.metavar else f"[{name}]"
    return f"{parameter.opts[0]} .." if parameter.required else ""


def _row(parameter: Any, kind: Any) -> str:
    """An argument or option as a line of the table."""
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.metavar or parameter.name.upper()]
    shown = ", ".join(f"`{name}`" for name in names).replace("|", "\\|")
    return f"| {shown} | {_value(kind)} | {_usual(parameter)} | {_cell(parameter.help)} |"


def _value(kind: Any) -> str:
    """A parameter's type in words."""
    if get_origin(kind) in (Union, types.UnionType):
        return _value(next(each for each in get_args(kind) if each is not type(None)))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return f"{_value(get_args(kind)[0])}, any number of times"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    words = {int: "whole number", float: "number", str: "text", Path: "path", bool: ""}
    return words[kind]


def _usual(parameter: Any) -> str:
    """The default, where there is one that says something."""
    if parameter.required:
        return "must be said"
    usual = parameter.default
    if usual is None or callable(usual) or usual is False or usual in ("", (), []):
        return ""
    if usual is True:
        return "yes"
    return f"`{getattr(usual, 'value', usual)}`"


def _text(said: str | None) -> str:
    return re.sub(r"[ \t]*\n(?!\n)[ \t]*", " ", (said or "").strip()).replace("\n ", "\n\n")


def _cell(said: str | None) -> str:
    return re.sub(r"\s+", " ", said or "").strip().replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
