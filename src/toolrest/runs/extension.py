"""A run that is trained for longer than it was begun for.

It is written in steps, and a run that is killed between any two of them goes on by a plain
`--resume`: with its old steps before its recipe is written, with the new ones after it. What is
meant is kept in data.json from before the first step to after the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolrest.errors import InputError
from toolrest.io.files import append_json, whole_lines, write_json, write_whole
from toolrest.io.foreign import parse_json
from toolrest.io.objects import object_or_none
from toolrest.recipe import Recipe
from toolrest.runs.ending import ended_early, to_go_on
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import RECIPE, recipe_hash

_MEANT = "extending"
"""Key of data.json: an extension that is not known to be written whole."""


@dataclass(frozen=True)
class Extension:
    """What is changed by it."""

    before: int
    """The run's last step so far."""
    after: int
    """Its last step now."""
    done: int
    """The steps done that it goes on from."""
    redone: int
    """The last of the steps that are done again, or `done`."""

    def __str__(self) -> str:
        was, now = self.done / self.before, self.done / self.after
        said = (
            f"max_steps {self.before} -> {self.after} after step {self.done}: the curriculum's "
            f"progress (step / max_steps) is counted to the new end and falls from {was:.3f} to "
            f"{now:.3f}"
        )
        if self.redone > self.done:
            said += (
                f"; the steps after {self.done} up to {self.redone} are done again, since "
                f"{self.redone} is inside a generation"
            )
        return said

    @property
    def reason(self) -> str:
        """Where the recipe's max_steps comes from."""
        return f"it was {self.before}, and was raised after step {self.done}"


def plan_extension(
    run: RunFolder, before: Recipe, after: Recipe, done: int, *, accept: bool = False
) -> Extension:
    """What it would be to have a run go on to the steps of another recipe; nothing is written.

    Args:
        before: its recipe as it is.
        after: the same with more steps, or as many after a first try.
        done: the steps done in the checkpoint that it would go on from.
        accept: whether to go on though the recipe is not the one that the run began with.

    Raises:
        InputError: there are fewer steps, or no steps to extend, or none that can be gone on from,
            or the recipe has changed.
    """
    if before.method != "rl":
        raise InputError(
            f"{run.path}: a run that is supervised alone has no max_steps; begin another with more "
            "warm_start.steps and the policy of this one"
        )
    if after.max_steps < before.max_steps or after.max_steps <= done:
        raise InputError(
            f"--resume max_steps={after.max_steps}: the run has {done} steps done of "
            f"{before.max_steps}, and can be given more alone"
        )
    last = max(run.whole_checkpoints(), default=0)
    if last and not done:
        each = after.steps_per_generation
        raise InputError(
            f"--resume max_steps={after.max_steps}: the run has a checkpoint of step {last} alone, "
            f"inside a generation of {each} optimiser steps, from which none goes on exactly; "
            f"begin another run with max_steps={after.max_steps} (only a run whose max_steps is a "
            f"multiple of {each}, or over save_steps={after.save_steps}, can be made longer)"
        )
    if (ended := ended_early(run, after, done)) is not None:
        raise InputError(f"{run.path}: {ended}; to go on, say this too: {to_go_on(ended)}")
    own = _began_with(run, before)
    if own not in (None, recipe_hash(before), recipe_hash(after)) and not accept:
        raise InputError(
            f"{run.path}: since the run began, the recipe has changed; put back what was there, or "
            "go on with it by --accept-changed-data, which the run's data.json keeps"
        )
    return Extension(before.max_steps, after.max_steps, done, max(done, last))


def extend_run(
    run: RunFolder, before: Recipe, after: Recipe, planned: Extension, written: str
) -> None:
    """Make a run, which is held, one that goes on to the steps of another recipe: it is done no
    more, its evaluation at the end that is none now is kept by its step, its hash is the new
    recipe's, and its warnings say so.

    Args:
        before: its recipe as it is.
        after: the same with more steps.
        planned: of `plan_extension`.
        written: the new recipe, YAML.
    """
    advice = "weights and rewards by progress go back; evaluations on the way are comparable"
    row = {"name": "extended", "step": planned.done, "text": str(planned), "advice": advice}
    known = object_or_none(run.data)
    if known is not None:
        meant = {"from": recipe_hash(before), "to": recipe_hash(after), "warning": row}
        write_json(run.data, known | {_MEANT: meant})
    forget_end(run, planned.before)
    write_whole(run.recipe, written)
    if known is None:
        append_json(run.warnings, row)
    finish_extension(run, after)


def finish_extension(run: RunFolder, recipe: Recipe) -> None:
    """Write what is missing of an extension that was cut off; of one that had not come as far as
    the recipe, what was meant is forgotten.

    Args:
        run: held.
        recipe: as it is in its folder.
    """
    known = object_or_none(run.data)
    if known is None or _MEANT not in known:
        return
    meant = known.pop(_MEANT)
    try:
        reached = meant["to"] == recipe_hash(recipe)
        if reached and known["origins"][RECIPE] == meant["from"]:
            known["origins"][RECIPE] = meant["to"]
        row = meant["warning"] if reached else None
    except (KeyError, TypeError):  # not ours
        row = None
    lines = whole_lines(run.warnings) if run.warnings.is_file() else []
    if isinstance(row, dict) and row not in map(_parsed, lines):
        append_json(run.warnings, row)
    write_json(run.data, known)


def forget_end(run: RunFolder, last: int) -> None:
    """The run is not done; what it had at its end before is kept by the step. A result goes before
    its responses: one without them would not be evaluated again.

    Args:
        run: held.
        last: the step of that end.
    """
    steps = (object_or_none(run.summary) or {}).get("steps")
    last = steps if isinstance(steps, int) else last  # of a run that has ended early
    run.summary.unlink(missing_ok=True)
    for path in sorted(run.evaluation.glob("after.json*")):
        path.replace(path.with_name(f"after-{last}{path.suffix}"))


def _parsed(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _began_with(run: RunFolder, recipe: Recipe) -> str | None:
    """The hash of the recipe that the run began with, or was extended to; None: it is of an earlier
    version, or broken, which is said as the run goes on.
    """
    known = object_or_none(run.data) or {}
    try:
        began, meant = known["origins"][RECIPE], known.get(_MEANT)
        own = recipe_hash(recipe)
        return own if meant is not None and (meant["from"], meant["to"]) == (began, own) else began
    except (KeyError, TypeError):
        return None
