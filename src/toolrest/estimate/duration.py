"""How long a run takes on the device that is there: about, before it is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from toolrest.estimate.gpus import GPUS, Efficiency
from toolrest.estimate.needs import Device
from toolrest.estimate.shape import ModelShape
from toolrest.estimate.time import backward_passes, head_flops, layers_flops, seconds, work
from toolrest.recipe import Recipe, changed

_REACHED = Efficiency(flops=0.6, bandwidth=0.6)
"""Share of a measured matrix product's speed that whole forwards and backwards reach: a policy of
135 M on one thread of a CPU was seen to reach 0.5 to 0.7."""
_LAYER_SECONDS = {True: 1e-3, False: 2e-3}
"""Of one layer in one step of transformers' decoding, whatever its size; assumed for a GPU, seen on
a CPU."""
_PADDED = 1.25
"""A generation's longest prompt, to which TRL pads each, in mean prompts."""
_EVALUATIONS = 2
"""Responses to each held-out prompt: one sampled, one greedy."""


@dataclass(frozen=True)
class Speed:
    """What a device was measured to do."""

    flops: float
    """Operations a second of a matrix product in the run's precision, all threads together."""
    bandwidth: float
    """Bytes a second that are read or written."""


@dataclass(frozen=True)
class Duration:
    """Seconds of a run's parts; calculated."""

    step: float
    """One optimiser step, its part of the sampling included; 0 where there is none."""
    training: float
    """All steps."""
    supervised: float
    """The warm start, or a run that is supervised alone."""
    evaluation: float
    """All evaluations."""

    @property
    def total(self) -> float:
        """Without loading and saving."""
        return self.training + self.supervised + self.evaluation


def duration(
    recipe: Recipe,
    shape: ModelShape,
    device: Device,
    speed: Speed,
    prompt_tokens: float,
    response_tokens: float,
) -> Duration:
    """Seconds of a run of TRL's engine: operations and bytes over what the device was measured to
    do, and a fixed time a layer and step of decoding.

    Args:
        prompt_tokens: of a prompt, on average.
        response_tokens: of a demonstration, on average; responses are taken to be as long.
    """
    if not device.gpu:
        recipe = changed(recipe, {"engine.precision": "float32"})
    sharers = device.sharers(recipe)
    machine = replace(
        GPUS["h100"],
        name=device.name,
        memory=device.memory,
        flops=speed.flops / sharers,
        bandwidth=speed.bandwidth / sharers,
    )
    prompt = min(prompt_tokens, recipe.data.max_prompt_tokens)
    padded = min(math.ceil(_PADDED * prompt), recipe.data.max_prompt_tokens)
    recipe = changed(recipe, {"data.max_prompt_tokens": padded})
    response = min(response_tokens, recipe.longest_response)
    layer = shape.layers * _LAYER_SECONDS[device.gpu]

    def generation(candidate: Recipe) -> tuple[float, float]:
        """Seconds of sampling, and of the rest."""
        each = seconds(candidate, shape, machine, _REACHED, prompt, response)
        steps = work(candidate, shape, machine, prompt, response).decode_steps
        sampling = each.prefill + each.decode + steps * layer
        return sampling, each.total - each.prefill - each.decode

    step = 0.0
    if recipe.method == "rl":
        step = sum(generation(recipe)) / recipe.steps_per_generation
    evaluation = 0.0
    samples = recipe.evaluation.samples
    if samples:
        batch = min(recipe.evaluation.batch_size, samples)
        rollout = {"rollout.prompts_per_step": batch, "rollout.group_size": 1}
        once = generation(changed(recipe, rollout | {"optimizer.mini_batch": None}))[0]
        batches = math.ceil(_EVALUATIONS * samples / batch)
        evaluation = once * batches * _evaluations(recipe)
    rate = machine.flops * sharers * _REACHED.flops
    return Duration(
        step=step,
        training=step * recipe.max_steps if recipe.method == "rl" else 0.0,
        supervised=_supervised_flops(recipe, shape, prompt + response_tokens) / rate,
        evaluation=evaluation,
    )


def evaluated_on(recipe: Recipe, heldout: int) -> Recipe:
    """The recipe as it is of use with so many held-out samples, where it asks for more."""
    samples = min(recipe.evaluation.samples, heldout)
    evaluation = recipe.evaluation.model_copy(update={"samples": samples})
    return recipe.model_copy(update={"evaluation": evaluation})


def _evaluations(recipe: Recipe) -> int:
    """Before and after, after a warm start, and on the way."""
    count = 1 + recipe.evaluation.before
    if recipe.method == "rl":
        count += recipe.warm_start.method != "none"
        every = recipe.evaluation.every
        count += (recipe.max_steps - 1) // every if every else 0
    return count


def _supervised_flops(recipe: Recipe, shape: ModelShape, tokens: float) -> float:
    warm = recipe.warm_start
    if recipe.method == "rl" and warm.method == "none":
        return 0.0
    count = warm.steps * warm.batch_size * tokens
    each = layers_flops(shape, count, tokens) + head_flops(shape, count)
    return each * (1 + backward_passes(recipe))


def describe(found: Duration, recipe: Recipe, speed: Speed) -> str:
    """The time in one line, and how good the figure is."""
    parts = []
    if found.step:
        parts.append(
            f"about {spoken(found.step)} a step, {spoken(found.training)} for {recipe.max_steps}"
        )
    if found.supervised:
        parts.append(f"supervised learning {spoken(found.supervised)}")
    if found.evaluation:
        parts.append(f"evaluations {spoken(found.evaluation)}")
    if len(parts) > 1:
        parts.append(f"{spoken(found.total)} in all")
    return (
        f"time: {', '.join(parts)} (calculated from {speed.flops / 1e9:,.0f} GFLOP/s measured "
        "here; it may be half or three times that)"
    )


def spoken(count: float) -> str:
    """Seconds as people say them, to two digits."""
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if count >= 1.5 * size:
            value = count / size
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    return f"{count:.0f} seconds" if count >= 10 else f"{count:.1f} seconds"
