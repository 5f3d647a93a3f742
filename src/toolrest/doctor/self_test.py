"""Two training steps of the embedded policy through the real engine, in a temporary folder."""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from toolrest.doctor.check import Check, Status, reason
from toolrest.files import iterate_lines
from toolrest.recipe import Recipe, parse_recipe
from toolrest.runs import RunFolder

STEPS = 2
_MEAN_ERROR = 1e-3
"""Weights in the rollouts' files have four decimals."""
_SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "save_steps": STEPS,
    "rollout": {
        "prompts_per_step": 4,
        "group_size": 4,
        "max_response_tokens": 64,
        "saved_groups": 4,
    },
    "evaluation": {"samples": 0},
}


class _Silent:
    """A view that shows nothing and keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def stage(self, text: str, total: int | None = None) -> None:
        pass

    def advance(self, done: int) -> None:
        pass

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run_self_test() -> list[Check]:
    """Train, and look at what came out.

    Returns:
        Finite rewards, weights of mean 1, parameters that moved, a checkpoint that can be loaded;
        each a problem where it is not so. One problem alone where training fails.
    """
    recipe = parse_recipe(_SETTINGS, "the self-test")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="toolrest-doctor-") as folder:
        run = RunFolder(Path(folder) / "run")
        run.path.mkdir()
        try:
            warnings = _train(recipe, run)
        except Exception as error:
            return [
                Check(
                    "training",
                    Status.PROBLEM,
                    f"two steps of the embedded policy failed ({reason(error)})",
                    "mend what is wrong above; if nothing is, report this with "
                    "toolrest doctor --json",
                )
            ]
        seconds = time.monotonic() - started
        return [
            Check("training", Status.OK, f"{STEPS} steps of the embedded policy, {seconds:.0f} s"),
            *(Check("training", Status.WARNING, text) for text in warnings),
            *check_run(recipe, run),
        ]


def _train(recipe: Recipe, run: RunFolder) -> list[str]:
    """Do the job, and say what it warned of."""
    from toolrest.training import run_training

    view = _Silent()
    run_training(recipe, run, view, resume=False)
    return view.warnings


def check_run(recipe: Recipe, run: RunFolder) -> list[Check]:
    """What a run that has ended left behind.

    Returns:
        Checks of its metrics, its weights, its parameters and its last checkpoint.
    """
    broken = "this installation computes wrongly: compare the versions above with the tested ones"
    looks = (
        ("numbers", _odd_numbers(run), "rewards, losses and gradients are finite"),
        ("weights", _odd_weights(run), "of mean 1 in every response"),
        ("checkpoint", _odd_checkpoint(recipe, run), "can be loaded; its parameters have moved"),
    )
    return [
        Check(name, Status.OK, fine) if odd is None else Check(name, Status.PROBLEM, odd, broken)
        for name, odd, fine in looks
    ]


def _odd_numbers(run: RunFolder) -> str | None:
    lines = list(iterate_lines(run.metrics)) if run.metrics.is_file() else []
    if len(lines) != STEPS:
        return f"{len(lines)} of {STEPS} steps are in metrics.jsonl"
    for line in lines:
        for key in ("reward", "loss", "grad_norm"):
            value = json.loads(line).get(key)
            if not isinstance(value, int | float) or not math.isfinite(value):
                return f"{key} is {value}"
    return None


def _odd_weights(run: RunFolder) -> str | None:
    files = sorted(run.rollouts.glob("step-*.jsonl"))
    rows = [json.loads(line) for file in files for line in iterate_lines(file)]
    if not rows:
        return "no rollouts were written"
    for row in rows:
        mean = sum(row["weights"]) / max(1, len(row["weights"]))
        if not abs(mean - 1) <= _MEAN_ERROR:
            return f"the mean of a response's weights is {mean:.4f}, not 1"
    return None


def _odd_checkpoint(recipe: Recipe, run: RunFolder) -> str | None:
    import torch

    from toolrest.policy import load_policy

    last = run.last_checkpoint()
    if last is None:
        return "no whole checkpoint was written"
    before = load_policy(recipe).state_dict()
    after = load_policy(recipe, last).state_dict()
    if not all(bool(torch.isfinite(value).all()) for value in after.values()):
        return "parameters are not finite"
    if all(torch.equal(before[name], value) for name, value in after.items()):
        return "training moved no parameter"
    return None
