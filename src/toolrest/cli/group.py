"""The commands as one group, in which a wrong command line is one line, as wrong input is."""

import difflib
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from toolrest.errors import printable, short
from toolrest.io.redaction import redacted
from toolrest.io.terminal import say

_USAGE: Any = typer.BadParameter.__mro__[1]
"""Click's error for a wrong command line, under whichever name typer has it."""


_INTERRUPTED = 130


class OneLineGroup(TyperGroup):
    """A group whose usage errors are a line each, with the mend, and exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        self._begun = False
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _USAGE as error:
            if not standalone_mode:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                words = sys.argv[1:] if args is None else list(args)
                text = redacted(explain_usage(error, words, self))
                say(f"toolrest: {printable(text)}", err=True)
            sys.exit(2)
        if code == _INTERRUPTED and not self._begun:
            say("stopped before anything was done", err=True)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    def invoke(self, ctx: Any) -> Any:
        """See click; an interrupt that the command does not tell of itself is a line."""
        self._begun = True
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("stopped", err=True)
            raise typer.Exit(_INTERRUPTED) from None


def explain_usage(error: Any, words: Sequence[str], group: Any) -> str:
    """What is wrong with a command line, and how it is mended, in one line.

    Args:
        error: click's.
        words: the command line.
        group: whose commands they name.
    """
    said = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = _names(context) if context is not None else _named(words, group)
    asked = " ".join(["toolrest", *command, "--help"])
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and isinstance(option, str):
        return _unknown_option(option, words, _options(context), asked)
    if context is not None and said.startswith("No such command"):
        after = [word for word in words if not word.startswith("-")][len(command) :]
        name = after[0] if after else ""
        known = list(getattr(context.command, "commands", {}))
        near = difflib.get_close_matches(name, known, n=1)
        if name.endswith((".yaml", ".yml")) or "=" in name or _is_recipe(name):
            return f"{short(name)} is no command; write toolrest train {name}"
        hint = f"did you mean {near[0]}? " if near else ""
        return f"no such command {short(name)}: {hint}known: {', '.join(known)}"
    return f"{said[:1].lower()}{said[1:]}; {asked} shows how"


def _is_recipe(name: str) -> bool:
    from toolrest.recipe.shipped import shipped_recipes

    return name in shipped_recipes()


def _names(context: Any) -> list[str]:
    """The command's name after `toolrest`: of `data check` two words."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return names


def _named(words: Sequence[str], group: Any) -> list[str]:
    """The command that the words begin with, where an error does not say whose it is."""
    names: list[str] = []
    for word in words:
        group = getattr(group, "commands", {}).get(word)
        if group is None:
            break
        names.append(word)
    return names


def _options(context: Any) -> list[str]:
    parameters = context.command.params if context is not None else []
    return [name for each in parameters for name in each.opts if name.startswith("--")]


def _unknown_option(option: str, words: Sequence[str], known: list[str], asked: str) -> str:
    """An option that there is not: another one's name, or a setting written with dashes."""
    near = difflib.get_close_matches(option, known, n=1, cutoff=0.8)
    if near:
        return f"no such option {option}; did you mean {near[0]}? {asked} lists them"
    from toolrest.recipe.mends import key_meant

    key = key_meant(option.partition("=")[0])
    if key is None:
        return f"no such option {option}; {asked} lists them"
    after = [w for w in words if w == option or w.startswith(option + "=")]
    at = list(words).index(after[0]) if after else len(words)
    value = after[0].partition("=")[2] if after else ""
    if not value and at + 1 < len(words) and not words[at + 1].startswith("-"):
        value = words[at + 1]
    return f"no such option {option}; settings are written without dashes: {key}={value or 'VALUE'}"
