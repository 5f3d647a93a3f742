"""Two training steps of the recipe's policy through the real engine, in a temporary folder."""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from toolrest.doctor.check import Check, Status, described
from toolrest.io.files import iterate_lines
from toolrest.policy.folder import policy_path, whole_policy
from toolrest.recipe import EMBEDDED, Recipe, parse_recipe
from toolrest.runs.folder import RunFolder

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
_LARGEST = {"cpu": 256 << 20, "cuda": 4 << 30}
"""Bytes of weights of a policy that two steps are trained of, by what computes them."""


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


def run_self_test(asked: Recipe | None = None) -> list[Check]:
    """Train two steps on the embedded tasks, and look at what came out.

    Args:
        asked: its policy and adapters are trained; where they are too large for that, or are not
            here, and for None: the embedded policy.

    Returns:
        Finite rewards, weights of mean 1, parameters that moved, a checkpoint that can be loaded;
        each a problem where it is not so. One problem alone where training fails.
    """
    settings, name, notes = _settings(asked)
    recipe = parse_recipe(settings, "the self-test")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="toolrest-doctor-") as folder:
        run = RunFolder(Path(folder) / "run")
        run.path.mkdir()
        try:
            warnings = _train(recipe, run)
        except Exception as error:
            return [
                *notes,
                Check(
                    "training",
                    Status.PROBLEM,
                    f"two steps of {name} failed ({described(error)})",
                    "mend what is wrong above; if nothing is, report this with "
                    "toolrest doctor --json",
                ),
            ]
        seconds = time.monotonic() - started
        return [
            *notes,
            Check("training", Status.OK, f"{STEPS} steps of {name}, {seconds:.0f} s"),
            *(Check("training", Status.WARNING, text) for text in warnings),
            *check_run(recipe, run),
        ]


def _settings(asked: Recipe | None) -> tuple[dict[str, Any], str, list[Check]]:
    """(settings, whose steps they are, what is to be said of it)."""
    import torch

    embedded = "the embedded policy"
    if asked is None or (asked.policy == EMBEDDED and not asked.lora.rank):
        return _SETTINGS, embedded, []
    own = {
        "policy": asked.policy,
        "trust_remote_code": asked.trust_remote_code,
        "lora": asked.lora.model_dump(mode="json"),
        "data": {"template_options": asked.data.template_options},
    }
    folder = Path(whole_policy(policy_path(asked)))
    if not folder.is_dir():
        why = "is not in a folder"
    else:
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        most = _LARGEST["cuda" if torch.cuda.is_available() else "cpu"]
        if size <= most:
            return _SETTINGS | own, f"the policy {asked.policy}", []
        why = f"has {size / 1e6:,.0f} MB of weights, over {most / 1e6:,.0f}"
    said = f"{asked.policy} {why}: two steps of {embedded} are trained in its place"
    return _SETTINGS, embedded, [Check("training", Status.NOTE, said)]


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
    learnt = any(value != 0 for value in _logged(run, "grad_norm"))
    moved = "its parameters have moved" if learnt else "no two rewards differed, so none moved"
    looks = (
        ("numbers", _odd_numbers(run), "rewards, losses and gradients are finite"),
        ("weights", _odd_weights(run), "of mean 1 in every response"),
        ("checkpoint", _odd_checkpoint(recipe, run, learnt), f"can be loaded; {moved}"),
    )
    return [
        Check(name, Status.OK, fine) if odd is None else Check(name, Status.PROBLEM, odd, broken)
        for name, odd, fine in looks
    ]


def _logged(run: RunFolder, key: str) -> list[Any]:
    """A metric's value at each step."""
    lines = iterate_lines(run.metrics) if run.metrics.is_file() else []
    return [json.loads(line).get(key) for line in lines]


def _odd_numbers(run: RunFolder) -> str | None:
    if (steps := len(_logged(run, "step"))) != STEPS:
        return f"{steps} of {STEPS} steps are in metrics.jsonl"
    for key in ("reward", "loss", "grad_norm"):
        for value in _logged(run, key):
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


def _odd_checkpoint(recipe: Recipe, run: RunFolder, learnt: bool) -> str | None:
    """
    Args:
        learnt: whether a step had a gradient, without which no parameter moves.
    """
    import torch

    from toolrest.errors import InputError
    from toolrest.policy.weights import load_policy

    last = run.last_checkpoint()
    if last is None:
        return "no whole checkpoint was written"
    before = load_policy(recipe).state_dict()
    try:
        after = load_policy(recipe, last).state_dict()
    except InputError as error:
        return str(error)
    if learnt and all(torch.equal(before[name], value) for name, value in after.items()):
        return "training moved no parameter"
    return None
