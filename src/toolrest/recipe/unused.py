"""Keys that a recipe says and that play no part in its run, told in a note.

They are not refused where one recipe serves several runs, such as reinforcement learning and, by
`method=sft`, supervised learning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from toolrest.recipe.keys import says
from toolrest.recipe.mends import all_keys

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe


@dataclass(frozen=True)
class Unused:
    """A key, and when it plays no part."""

    key: str
    """Dotted, such as `lora.alpha`."""
    where: Callable[[Recipe], str]
    """What of a recipe leaves the key without a part, such as `with method=sft`; empty: nothing
    does."""
    instead: str = ""
    """The key that counts in its place; empty: none does."""


def _supervised(recipe: Recipe) -> str:
    return "" if recipe.method == "rl" else f"with method={recipe.method}"


def _function_unheard(recipe: Recipe) -> str:
    """An environment's reward can be a function of the user's, in evaluations too."""
    alone = recipe.reward.functions and recipe.environment.source is None
    return _supervised(recipe) if alone else ""


def _not_on_the_way(recipe: Recipe) -> str:
    return _supervised(recipe) if recipe.evaluation.every else ""


def _not_scaled(recipe: Recipe) -> str:
    if recipe.method != "rl":
        return _supervised(recipe) if recipe.method == "sft" else ""
    return "with warm_start.method=sft" if recipe.warm_start.method == "sft" else ""


def _not_warmed(recipe: Recipe) -> str:
    taught = recipe.method != "rl" or recipe.warm_start.method != "none"
    return "" if taught else "without warm_start.method"


def _embedded_tasks(recipe: Recipe) -> str:
    """Rows of `evaluation.path` are worded as data are, and benchmarks as the run's prompts."""
    asked = recipe.evaluation
    worded = recipe.sources or asked.benchmarks or (asked.path is not None and asked.samples)
    if worded or recipe.environment.source is not None:
        return ""
    return "on the embedded world's tasks (no data.path)"


def _embedded_alone(recipe: Recipe) -> str:
    """Settings of other policies are worked out of the key."""
    return _embedded_tasks(recipe) if recipe.policy == "embedded" else ""


def _embedded_uncut(recipe: Recipe) -> str:
    """How forwards are cut by tokens goes by the longest prompt that there could be."""
    optimizer = recipe.optimizer
    cut = optimizer.micro_batch is not None or optimizer.micro_tokens is not None
    return "" if cut or recipe.engine.name != "trl" else _embedded_alone(recipe)


def _no_adapters(recipe: Recipe) -> str:
    return "" if recipe.lora.rank else "with lora.rank=0"


def _no_later_decision(recipe: Recipe) -> str:
    if recipe.advantage.discount == 1:
        return ""
    whole = recipe.advantage.credit == "response"
    return _supervised(recipe) or ("with advantage.credit=response" if whole else "")


def _no_function(recipe: Recipe) -> str:
    return "" if recipe.reward.functions else "without reward.function"


def _no_vllm(recipe: Recipe) -> str:
    other = recipe.engine.name == "trl" and recipe.rollout.sampler != "vllm"
    return _supervised(recipe) or ("without rollout.sampler=vllm" if other else "")


def _not_evaluated(recipe: Recipe) -> str:
    asked = recipe.evaluation
    nothing = asked.every > 0 and not asked.samples and not asked.benchmarks
    return "with evaluation.samples=0" if nothing else ""


UNUSED = (
    Unused("max_steps", _supervised, "warm_start.steps"),
    Unused("optimizer.learning_rate", _supervised, "warm_start.learning_rate"),
    *(
        Unused(f"optimizer.{name}", _supervised)
        for name in ("name", "weight_decay", "schedule", "warmup_steps")
    ),
    Unused("weighting.scheme", _supervised),
    Unused("save_steps", _supervised),
    Unused("keep_checkpoints", _supervised),
    Unused("evaluation.every", _not_on_the_way),
    Unused("reward.function", _function_unheard),
    Unused("reward.timeout", _function_unheard),
    Unused("guards.reward_error", _function_unheard),
    Unused("advantage.discount", _no_later_decision),
    *(
        Unused(f"rollout.vllm.{name}", _no_vllm)
        for name in ("mode", "memory", "tensor_parallel", "server", "correction")
    ),
    Unused("warm_start.scale", _not_scaled),
    *(
        Unused(f"warm_start.{name}", _not_warmed)
        for name in ("steps", "batch_size", "learning_rate", "scale")
    ),
    *(
        Unused(f"data.{name}", _embedded_tasks)
        for name in ("prompt", "thoughts", "think", "thought_sentences")
    ),
    Unused("data.heldout_fraction", _embedded_alone, "evaluation.samples"),
    Unused("data.max_prompt_tokens", _embedded_uncut),
    *(Unused(f"lora.{name}", _no_adapters) for name in ("alpha", "dropout", "target_modules")),
    Unused("reward.timeout", _no_function),
    Unused("guards.reward_error", _no_function),
    Unused("evaluation.every", _not_evaluated),
)
"""What can play no part; of a key that is there twice the first counts."""


def unused_note(recipe: Recipe) -> str | None:
    """One line on the keys that a recipe says and that play no part; None: there are none.

    Args:
        recipe: as it was read, before anything is worked out. Of one that a run keeps, which says
            all its keys, none was chosen.
    """
    if _says_most(recipe):
        return None
    found: dict[str, tuple[str, str]] = {}
    for each in UNUSED:
        where = each.where(recipe)
        if where and says(recipe, each.key):
            instead = f" ({each.instead} counts)" if each.instead else ""
            found.setdefault(each.key, (where, f"{each.key}{instead}"))
    if not found:
        return None
    parts = []
    told = sorted(found.values(), key=lambda each: each[0])  # stable: keys stay in their order
    for where, keys in groupby(told, lambda each: each[0]):
        play = "" if parts else f" {'this plays' if len(found) == 1 else 'these play'} no part"
        parts.append(f"{where}{play}: {', '.join(shown for _, shown in keys)}")
    return f"note: {'; '.join(parts)}"


def _says_most(recipe: Recipe) -> bool:
    """Whether a recipe says most keys, as no one that was written by hand does: a run of an earlier
    version kept all that there were then.
    """
    keys = list(all_keys())
    return 2 * sum(says(recipe, key) for key in keys) > len(keys)
