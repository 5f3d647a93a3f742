"""Settings that follow from a policy's size, the memory that is free and the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolrest.errors import InputError
from toolrest.estimate.needs import Device, needed
from toolrest.estimate.shape import ModelShape
from toolrest.recipe import EMBEDDED, Recipe, changed, says, value_of
from toolrest.recipe.checks import check_recipe

_USED = 0.8
"""Share of the free memory that a setting may fill: the calculation leaves out fragmentation."""
_PART = 32
"""Limits of tokens are multiples of it."""
_MOST_PROMPT, _MOST_RESPONSE = 4096, 4096
_QUANTILE = 0.99
_SLACK = 1.25
"""Responses may be so much longer than the demonstrations: they grow in training."""
_THOUGHT = 512
"""Tokens for a thought where the data show none."""
_FORWARD_TOKENS = {True: 65_536, False: 8192}
"""Of one forward at most, on a GPU and on a CPU; more are not faster."""
_LARGE, _SMALL = 100e6, 20e6
"""Parameters from which a CPU gets 4 prompts a step, and 8."""


KEYS = (
    *("engine.precision", "rollout.max_response_tokens", "data.max_prompt_tokens"),
    *("optimizer.learning_rate", "warm_start.learning_rate", "rollout.prompts_per_step"),
    *("rollout.group_size", "optimizer.micro_batch", "evaluation.batch_size"),
)
"""What is worked out."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows that were counted."""

    prompts: tuple[int, ...] = ()
    """Of each prompt."""
    replies: tuple[int, ...] = ()
    """Of each demonstration with the token that ends it; of the ground truth where there is
    none."""
    thoughts: bool = True
    """Whether the replies have the thoughts that are asked for."""


@dataclass(frozen=True)
class Setting:
    """One that the recipe did not say."""

    key: str
    """Of the recipe."""
    value: Any
    """What was worked out."""
    why: str
    """From what."""

    def __str__(self) -> str:
        return f"{self.key}={self.value}: {self.why}"


def work_out(
    recipe: Recipe,
    shape: ModelShape | None,
    device: Device,
    lengths: Lengths,
    positions: int | None = None,
) -> tuple[Recipe, tuple[Setting, ...]]:
    """The recipe with what it does not say fitted to its policy, and what that is.

    The embedded policy and the engine verl keep the schema's values.

    Args:
        recipe: a value that it says stays, whatever it is.
        shape: of the policy; None: not known, and only what the data and the device tell is worked
            out.
        device: what the run is computed on.
        lengths: of some of the data's rows.
        positions: the longest sequence that the policy takes; None: not known.
    """
    if recipe.policy == EMBEDDED or recipe.engine.name == "verl":
        return recipe, ()
    made: list[Setting] = []

    def settle(key: str, value: Any, why: str) -> None:
        nonlocal recipe
        if not says(recipe, key):
            made.append(Setting(key, value, why))
            recipe = changed(recipe, {key: value})

    settle("engine.precision", *_precision(device))
    if lengths.replies:
        settle("rollout.max_response_tokens", *response_setting(lengths, positions))
    if lengths.prompts:
        settle("data.max_prompt_tokens", *_prompt_tokens(recipe, lengths, positions))
    if shape is None:
        return recipe, tuple(made)
    size = _named_size(shape)
    kind = "adapters (lora.rank)" if recipe.lora.rank else "all parameters"
    rate = learning_rate(shape.parameters, lora=recipe.lora.rank > 0)
    settle("optimizer.learning_rate", rate, f"{kind} of a policy of {size}")
    ten = min(1e-3, _rounded(10 * rate))
    settle("warm_start.learning_rate", ten, f"supervised, {kind} of a policy of {size}")
    prompts, why = _prompts(recipe, shape, device, lengths)
    settle("rollout.prompts_per_step", prompts, why)
    settle("rollout.group_size", recipe.rollout.group_size, "the usual size of a group")
    if recipe.optimizer.micro_tokens is None:
        settle("optimizer.micro_batch", *_micro_batch(recipe, shape, device))
    if recipe.evaluation.samples:
        settle("evaluation.batch_size", *_evaluated(recipe, shape, device))
    return recipe, tuple(made)


def learning_rate(parameters: float, *, lora: bool) -> float:
    """AdamW's rate in reinforcement learning: 1e-6 (1.5e9 / N)^0.7 within [1e-6, 2e-4], one digit.

    1e-6 is what policies from 1.5e9 parameters up are trained with (DeepSeekMath, arXiv 2402.03300;
    ResT, arXiv 2509.21826); the exponent joins it to the 2e-4 of the embedded policy of 1e6. LoRA's
    best rate is about ten times that of all parameters (https://thinkingmachines.ai/blog/lora/);
    supervised learning is given ten times either. Rules of thumb: within a factor of about three.
    """
    rate = 1e-6 * max(1.0, 1.5e9 / parameters) ** 0.7
    return min(_rounded(10 * rate if lora else rate), 1e-3 if lora else 2e-4)


def fitting_changes(
    recipe: Recipe, shape: ModelShape, device: Device, longest_prompt: int | None = None
) -> dict[str, Any] | None:
    """The fewest changes with which a recipe's calculated memory is there; None: nothing helps.

    Tried in order: a smaller micro-batch; fewer prompts a step; the same with recomputed
    activations, with adapters, with both; and all of these with shorter responses.
    """

    def fits(candidate: Recipe) -> bool:
        memory = needed(candidate, shape, device, longest_prompt)
        return memory.peak * device.sharers(candidate) <= device.memory

    for base in _lighter(recipe):
        for prompts in _halved(recipe.rollout.prompts_per_step):
            tried = changed(recipe, base | {"rollout.prompts_per_step": prompts})
            found = _largest_micro(tried, fits)
            if found is not None:
                wanted = base | {"rollout.prompts_per_step": prompts}
                if recipe.optimizer.micro_tokens is None:
                    wanted |= {"optimizer.micro_batch": found}
                else:
                    longest = changed(recipe, base).longest_sequence
                    tokens = min(recipe.optimizer.micro_tokens, found * longest)
                    wanted |= {"optimizer.micro_tokens": tokens}
                return {key: value for key, value in wanted.items() if _differs(recipe, key, value)}
    return None


def _differs(recipe: Recipe, key: str, value: Any) -> bool:
    if key == "optimizer.micro_batch":
        return value != recipe.responses_per_forward
    return value_of(recipe, key) != value


def _lighter(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Changes that take memory off whatever the batch."""
    recomputed = {"optimizer.gradient_checkpointing": True}
    adapters = {} if recipe.lora.rank else {"lora.rank": 16}
    response = recipe.rollout.max_response_tokens
    for shorter in ({}, {"rollout.max_response_tokens": max(1, response // 2)}):
        yield shorter
        yield shorter | recomputed
        yield shorter | adapters
        yield shorter | recomputed | adapters


def _halved(count: int) -> Iterator[int]:
    while count:
        yield count
        count //= 2


def _largest_micro(recipe: Recipe, fits: Callable[[Recipe], bool]) -> int | None:
    """The most responses a forward, of at most today's, that divide a step's and fit."""
    for micro in range(min(recipe.responses_per_forward, recipe.responses_per_process), 0, -1):
        tried = changed(recipe, {"optimizer.micro_batch": micro, "optimizer.micro_tokens": None})
        if _divides(tried) and fits(tried):
            return micro
    return None


def _divides(recipe: Recipe) -> bool:
    try:
        check_recipe(recipe)
    except InputError:
        return False
    return True


def _precision(device: Device) -> tuple[str, str]:
    if not device.gpu:
        return "float32", "a CPU, on which bfloat16 is slower"
    if device.bfloat16:
        return "bfloat16", f"{device.name} computes in it"
    return "float32", f"{device.name} does not compute in bfloat16"


def response_tokens(lengths: Lengths) -> int:
    """Room for responses: a quarter more than what 99% of the replies keep to, and 512 tokens for a
    thought that is asked for and that the data do not show; a multiple of 32.
    """
    return _up(_SLACK * _quantile(lengths.replies) + (0 if lengths.thoughts else _THOUGHT))


def response_setting(lengths: Lengths, positions: int | None) -> tuple[int, str]:
    """(`response_tokens`, at most half of the policy's positions, from what)."""
    reply = _quantile(lengths.replies)
    what = "demonstrations" if lengths.thoughts else "ground truths"
    why = (
        f"a quarter more than the {reply} tokens that 99% of {len(lengths.replies)} {what} keep to"
    )
    if not lengths.thoughts:
        why += f", and {_THOUGHT} for a thought, which the data do not show"
    most = min(_MOST_RESPONSE, positions // 2 if positions else _MOST_RESPONSE)
    return _capped(response_tokens(lengths), most, why)


def _prompt_tokens(recipe: Recipe, lengths: Lengths, positions: int | None) -> tuple[int, str]:
    prompt, top = _quantile(lengths.prompts), max(lengths.prompts)
    share = "all" if top <= _SLACK * prompt else "99%"
    tokens = top if share == "all" else prompt
    left = positions - recipe.rollout.max_response_tokens if positions else _MOST_PROMPT
    why = f"{share} of {len(lengths.prompts)} prompts have at most {tokens} tokens"
    return _capped(_up(tokens), max(1, min(_MOST_PROMPT, left)), why)


def _capped(value: int, most: int, why: str) -> tuple[int, str]:
    return (value, why) if value <= most else (most, f"{why}; {most} at most")


def _prompts(
    recipe: Recipe, shape: ModelShape, device: Device, lengths: Lengths
) -> tuple[int, str]:
    """Prompts a step: as many as the device samples in reasonable time, has memory and rows for."""
    usual, why = recipe.rollout.prompts_per_step, f"usual on {device.name}"
    if not device.gpu:
        large, small = shape.parameters >= _LARGE, shape.parameters < _SMALL
        usual = 4 if large else usual if small else 8
        why = f"a policy of {_named_size(shape)} on a CPU"
    rows = int(len(lengths.prompts) * (1 - recipe.data.heldout_fraction)) - 1
    most, found = usual, None
    for prompts in _halved(usual):
        if not _divides(changed(recipe, {"rollout.prompts_per_step": prompts})):
            continue
        found = prompts
        if prompts <= max(rows, 1) and _samples_fit(recipe, prompts, shape, device):
            break
    if found is None or found == most:
        return found or usual, why
    few = found <= rows < 2 * found
    return found, f"{why}; fewer, as {'the rows are few' if few else 'memory is free for'}"


def _samples_fit(recipe: Recipe, prompts: int, shape: ModelShape, device: Device) -> bool:
    tried = changed(recipe, {"rollout.prompts_per_step": prompts})
    memory = needed(tried, shape, device)
    return memory.rollout * device.sharers(recipe) <= _USED * device.memory


def _micro_batch(recipe: Recipe, shape: ModelShape, device: Device) -> tuple[int, str]:
    most = _FORWARD_TOKENS[device.gpu]

    def fits(candidate: Recipe) -> bool:
        count = candidate.responses_per_forward
        if count > 1 and count * candidate.longest_sequence > most:
            return False
        memory = needed(candidate, shape, device)
        return memory.peak * device.sharers(candidate) <= _USED * device.memory

    free = f"{device.memory / 1e9:.1f} GB free on {device.name}"
    tokens = recipe.longest_sequence
    found = _largest_micro(recipe, fits)
    if found is None:
        return 1, f"{free}, at {tokens} tokens a response with its prompt"
    return found, f"{free}, and at most {most:,} tokens a forward at {tokens} a response"


def _evaluated(recipe: Recipe, shape: ModelShape, device: Device) -> tuple[int, str]:
    each = recipe.longest_sequence * shape.kv_bytes_per_token * (1 if device.gpu else 2)
    room = _USED * device.memory / device.sharers(recipe) - 4 * shape.parameters - device.overhead
    fitting = max(1, math.floor(room / 2 / each))
    value = min(recipe.evaluation.batch_size, 1 << (fitting.bit_length() - 1))
    return value, f"{device.memory / 1e9:.1f} GB free on {device.name}"


def _quantile(values: Sequence[int]) -> int:
    ordered = sorted(values)
    return ordered[math.ceil(_QUANTILE * len(ordered)) - 1]


def _up(tokens: float) -> int:
    return max(2, math.ceil(tokens / _PART)) * _PART


def _rounded(value: float) -> float:
    """To one digit."""
    return float(f"{value:.0e}")


def _named_size(shape: ModelShape) -> str:
    count = shape.parameters
    return f"{count / 1e9:.1f} G" if count >= 1e9 else f"{count / 1e6:.3g} M"
