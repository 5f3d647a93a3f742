"""The questions of `toolrest new`, and what an answer or a flag has to be."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from toolrest.errors import InputError, short
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.cli.new_facts import Rows
    from toolrest.estimate.needs import Device

NO_DATA = "none"
"""The word for the embedded world's tasks."""
GB = 1e9
_USUAL_MEMORY = 80.0
_MOST_DIGITS = 5


@dataclass
class Given:
    """What the flags say; the questions fill in the rest."""

    policy: str | None
    data: str | None
    gpus: int | None
    gpu_memory: float | None
    method: Literal["rl", "sft"] | None
    warm_start: bool | None
    out: Path | None
    name: str | None
    looked_at: "Policy | None" = None
    """The policy, once it was looked at."""
    rows: "Rows | None" = None
    """The data, once they were read."""


def ask_all(given: Given) -> None:
    """Ask for everything; a wrong answer is asked for again."""
    question = "Policy (embedded, a folder, or a name on the hub)"
    policy: Policy = _ask(question, "embedded", _told_policy)
    given.looked_at, given.policy = policy, policy.name
    default = NO_DATA if given.policy == "embedded" else None
    given.data, given.rows = _ask(
        "Data (a file of rows, or none)", default, partial(_told_data, policy.name)
    )
    given.method = _ask("Method (rl or sft)", "rl", _method)
    if given.method == "rl" and given.policy != "embedded":
        given.warm_start = typer.confirm("Supervised learning first?", default=False)
    if given.policy != "embedded":
        found, device = found_gpus()
        given.gpus = _ask("GPUs (0: the CPU)", str(found), _count)
        if given.gpus:
            usual = device.memory / GB if device is not None else _USUAL_MEMORY
            given.gpu_memory = _ask("GB of each GPU", f"{usual:.0f}", checked_memory)
    given.out = _ask("File to write", _free("recipe"), lambda text: checked_out(Path(text)))


def _free(stem: str) -> str:
    """The first name that nothing has: `recipe.yaml`, `recipe-2.yaml`, .."""
    names = (f"{stem}{'' if number == 1 else f'-{number}'}.yaml" for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def _ask(question: str, default: str | None, check: Callable[[str], Any]) -> Any:
    while True:
        text = typer.prompt(question, default=default)
        try:
            return check(str(text).strip())
        except InputError as error:
            say(f"toolrest: {error}", err=True)


@dataclass(frozen=True)
class Policy:
    """A policy that was looked at."""

    name: str
    """As recipes have it."""
    note: str | None = None
    """What could not be known of it."""


def checked_policy(text: str) -> Policy:
    """The policy, which is a folder with one, or which the hub has, if it can be asked.

    Raises:
        InputError: it is neither.
    """
    from toolrest.io.hub import unasked
    from toolrest.policy.folder import policy_folder, policy_path
    from toolrest.recipe import EMBEDDED, parse_recipe

    recipe = parse_recipe({"policy": text}, "--policy")
    path = policy_path(recipe)
    if text == EMBEDDED:
        return Policy(text)
    if Path(path).is_dir():
        policy_folder(recipe)
        return Policy(text)
    why = unasked(path)
    return Policy(text, None if why is None else f"policy {text} was not checked: {why}")


def _told_policy(text: str) -> Policy:
    found = checked_policy(text)
    if found.note is not None:
        say(found.note)
    return found


def _told_data(policy: str, text: str) -> "tuple[str, Rows | None]":
    if text == NO_DATA:
        return text, None
    from toolrest.cli.new_facts import look_at_data

    rows = look_at_data(text, policy)
    say(str(rows))
    return text, rows


def _method(text: str) -> Literal["rl", "sft"]:
    if text == "rl" or text == "sft":
        return text
    raise InputError(f"{short(text)}: rl or sft")


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)
    raise InputError(f"{short(text)}: a whole number from 0 up")


def checked_memory(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 1 <= found < float("inf"):
        raise InputError(f"{short(text)}: a number of GB from 1 up")
    return found


def checked_out(out: Path) -> Path:
    """The recipe's file, which is not there yet.

    Raises:
        InputError: it is, or it cannot be made, or its name would not be read as a recipe's.
    """
    if out.suffix not in (".yaml", ".yml") or "=" in str(out) or not str(out).isprintable():
        raise InputError(
            f"--out {out}: a recipe's name ends in .yaml, and has no = or invisible characters"
        )
    try:
        if out.exists() or out.is_symlink():
            raise InputError(f"--out {out}: is there already; name another file")
        if not out.parent.is_dir():
            raise InputError(f"--out {out}: there is no folder {out.parent}; make it first")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {out}: cannot be written ({error})") from error
    return out


def found_gpus() -> tuple[int, "Device | None"]:
    """(GPUs that torch sees here, one of them)."""
    import torch

    from toolrest.policy.sizing import look_at_device

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, look_at_device() if count else None
