"""A run that is trained for longer than it was begun for."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import InputError
from toolrest.io.files import append_json, read_json, write_json
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import RECIPE, recipe_hash


@dataclass(frozen=True)
class Extension:
    """What is changed by it."""

    before: int
    """The run's last step so far."""
    after: int
    """Its last step now."""
    done: int
    """The steps done."""

    def __str__(self) -> str:
        was, now = self.done / self.before, self.done / self.after
        return (
            f"max_steps {self.before} -> {self.after} after step {self.done}: the curriculum's "
            f"progress (step / max_steps) is counted to the new end and falls from {was:.3f} to "
            f"{now:.3f}"
        )

    @property
    def reason(self) -> str:
        """Where the recipe's max_steps comes from."""
        return f"it was {self.before}, and was raised after step {self.done}"


def extend_run(
    run: RunFolder, before: Recipe, after: Recipe, done: int, *, accept: bool = False
) -> Extension | None:
    """Make a run, which is held, one that goes on to the steps of another recipe: it is done no
    more, its evaluation at the end that is none now is kept by its step, its hash is the new
    recipe's, and its warnings say so. The recipe itself is the caller's to write, after this.

    Args:
        before: the run's recipe as it is.
        after: the same with more steps.
        done: the steps done.
        accept: whether to go on though the recipe is not the one that the run began with.

    Returns:
        None where the run has that many steps already, such as after a first try.

    Raises:
        InputError: there are fewer steps, or no steps to extend, or the recipe has changed;
            nothing is changed then.
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
    own = _began_with(run)
    if own not in (None, recipe_hash(before), recipe_hash(after)) and not accept:
        raise InputError(
            f"{run.path}: since the run began, the recipe has changed; put back what was there, or "
            "go on with it by --accept-changed-data, which the run's data.json keeps"
        )
    _forget_end(run, done)
    if after.max_steps == before.max_steps:
        return None
    if own == recipe_hash(before):
        known = read_json(run.data)
        known["origins"][RECIPE] = recipe_hash(after)
        write_json(run.data, known)
    extension = Extension(before.max_steps, after.max_steps, done)
    advice = "weights and rewards by progress go back; evaluations on the way are comparable"
    row = {"name": "extended", "step": done, "text": str(extension), "advice": advice}
    append_json(run.warnings, row)
    return extension


def _forget_end(run: RunFolder, done: int) -> None:
    """The run is not done; what it had at its end before is kept by the step."""
    run.summary.unlink(missing_ok=True)
    for path in run.evaluation.glob("after.json*"):
        path.replace(path.with_name(f"after-{done}{path.suffix}"))


def _began_with(run: RunFolder) -> str | None:
    """The hash of the recipe that the run began with; None: it is of an earlier version, or broken,
    which is said as the run goes on.
    """
    try:
        return read_json(run.data)["origins"][RECIPE]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
