"""A run's job in this process: shown, and its faults told in a line each."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from toolrest.cli.errors import is_full
from toolrest.cli.stopping import going_on, what_is_kept
from toolrest.cli.summary import print_summary, write_page
from toolrest.errors import OUT_OF_MEMORY, InputError, reason
from toolrest.io.terminal import note_loss, say, say_lost

if TYPE_CHECKING:
    from toolrest.engines.common.ranks import Ranks
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder

_DISK_FULL = 1 << 20
"""With fewer bytes free a failed write is put down to the disk."""


def train_in_this_process(
    recipe: "Recipe",
    run: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    quiet: bool,
    accept: bool = False,
) -> None:
    """Do the job of a recipe, shown and reported by process 0, in a folder that is held.

    Args:
        accept: go on although the data have changed; see `toolrest.training.run_training`.

    Raises:
        InputError: something given cannot be used.
    """
    summary = _trained(recipe, run, ranks, resume=resume, quiet=quiet, accept=accept)
    if ranks.main:
        page = write_page(run)
        print_summary(summary, run)
        if page is not None:
            say(f"report       {page}")
        say_lost(f"the run is done, in {run.path}")


def _trained(
    recipe: "Recipe",
    run: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    quiet: bool,
    accept: bool,
) -> dict[str, Any]:
    """What summary.json holds, at the end of training."""
    from safetensors import SafetensorError

    from toolrest.engines.common.guarded_reward import RewardError
    from toolrest.engines.common.incidents import NonFiniteError
    from toolrest.engines.common.job import Interrupted
    from toolrest.report.live import LiveView
    from toolrest.training import run_training

    quiet_libraries()
    with LiveView(quiet=quiet or not ranks.main, rollouts=run.rollouts) as view:
        if ranks.main:
            note_loss(run.warnings, lambda: view.at)
        try:
            return run_training(
                recipe, run, view, resume=resume, ranks=ranks, accept_changed_data=accept
            )
        except (KeyboardInterrupt, Interrupted):
            view.close()
            if ranks.main:
                say(what_is_kept(run, recipe), err=True)
            raise typer.Exit(130) from None
        except NonFiniteError as error:
            view.close()
            skips = recipe.engine.sharding not in ("zero2", "zero3")
            hint = " (guards.non_finite=skip leaves such steps out)" if skips else ""
            raise InputError(
                f"{error}; {run.incidents} has what led to it. Go on from the last checkpoint "
                f"with: {going_on(run, recipe)}{hint}"
            ) from error
        except RewardError as error:
            view.close()
            raise InputError(
                f"{error}; mend it, then go on with: {going_on(run, recipe)} --accept-changed-data "
                "(guards.reward_error=skip goes on without it)"
            ) from error
        except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
            reason = _out_of_memory(error, recipe) or _cannot_write(error, run)
            if reason is None:
                raise
            view.close()
            raise InputError(f"{reason}, then go on with: {going_on(run, recipe)}") from error


def quiet_libraries() -> None:
    """Leave the terminal to the view, and the network alone: no bars, no notices of deprecation and
    no telemetry from libraries.

    Raises:
        InputError: they cannot be used, as Python leaves docstrings out.
    """
    import sys
    import warnings

    if sys.flags.optimize > 1:
        raise InputError(
            "PYTHONOPTIMIZE=2 (python -OO) leaves out docstrings, which transformers needs; unset "
            "it, or use PYTHONOPTIMIZE=1"
        )

    from datasets.utils.logging import disable_progress_bar
    from huggingface_hub import constants
    from transformers.utils import logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="You are using 'rollout_func'")


def _out_of_memory(error: Exception, recipe: "Recipe") -> str | None:
    """That memory ran out, with what takes less; None where that is not the error."""
    import torch

    from toolrest.io.redaction import first_line

    kinds = (torch.OutOfMemoryError, MemoryError)
    if not isinstance(error, kinds) and not any(text in str(error) for text in OUT_OF_MEMORY):
        return None
    key, now = "micro_batch", recipe.responses_per_forward
    if recipe.optimizer.micro_tokens is not None:
        key, now = "micro_tokens", recipe.optimizer.micro_tokens
    return (
        f"out of memory ({first_line(error)}); lower optimizer.{key} (now {now}) or "
        "rollout.vllm.memory, or set optimizer.gradient_checkpointing=true"
    )


def _cannot_write(error: Exception, run: "RunFolder") -> str | None:
    """Why the run's folder cannot be written, with the mend; None where that is not the error.

    Writers of weights report a full disk in errors of their own.
    """
    import shutil

    named = error.filename if isinstance(error, OSError) else None
    if isinstance(named, str) and not Path(named).resolve().is_relative_to(run.path.resolve()):
        return f"{named} cannot be written ({reason(error)}); mend that" if is_full(error) else None
    there = run.path if run.is_used() else run.path.parent  # an unused folder is taken away
    full = f"the disk is full ({there}); make room"
    if is_full(error):
        return full
    locked = (errno.EROFS, errno.EACCES, errno.EPERM)
    if (isinstance(error, OSError) and error.errno in locked) or "Read-only file" in str(error):
        return f"{run.path} cannot be written ({error}); make it writable"
    writes = isinstance(error, OSError | RuntimeError)
    return full if writes and shutil.disk_usage(run.path).free < _DISK_FULL else None
