"""What a run cost, of what its files say."""

from __future__ import annotations

from statistics import median
from typing import Any

from toolrest.report.page_of_runs.reading import finite, is_number, object_or_empty
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder


def cost_of(
    run: RunFolder, recipe: dict[str, Any], summary: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, float | int | None]:
    """Seconds of the whole run, of its steps and of a step; tokens; responses that were sampled.

    Every generation has a file of rollouts; it sampled `prompts_per_step` times `group_size`
    responses. None for what is not recorded.
    """
    last = rows[-1] if rows else {}
    times = [row["step_time"] for row in rows if is_number(row.get("step_time"))]
    return {
        "seconds": finite(summary.get("seconds")),
        "training": finite(last.get("seconds")),
        "step": finite(median(times)) if times else None,
        "tokens": finite(last.get("num_tokens")),
        "responses": _responses(run, recipe),
    }


def _responses(run: RunFolder, recipe: dict[str, Any]) -> int | None:
    rollout = object_or_empty(recipe.get("rollout"))
    counts = [rollout.get(key) for key in ("prompts_per_step", "group_size")]
    generations = sum(1 for _ in run.rollouts.glob("step-*.jsonl"))
    prompts, size = counts
    if not generations or not isinstance(prompts, int) or not isinstance(size, int):
        return None
    return generations * prompts * size


def machine_of(environment: dict[str, Any]) -> str | None:
    """What it ran on, in a few words; None where that is not recorded."""
    machine = object_or_empty(environment.get("machine"))
    gpus = machine.get("gpus")
    if isinstance(gpus, list) and gpus:
        names = sorted({str(gpu.get("name") if isinstance(gpu, dict) else gpu) for gpu in gpus})
        return visible(f"{len(gpus)} x {', '.join(names)}")
    device, threads = machine.get("device"), machine.get("threads")
    if not isinstance(device, str):
        return None
    return visible(f"{device}, {threads} threads" if isinstance(threads, int) else device)


def command_of(environment: dict[str, Any]) -> str | None:
    """The command that started it; None where that is not recorded."""
    command = environment.get("command")
    if not isinstance(command, list) or len(command) < 2:
        return None
    return visible(" ".join(["toolrest", *map(str, command[1:])]))[:2000]
