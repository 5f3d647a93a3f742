"""The recipe's environment, played a little."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from toolrest.doctor.check import Check, Status
from toolrest.doctor.preflight import first_episodes
from toolrest.engines.common.episode_rows import episode_samples, made_rows
from toolrest.engines.common.episodes import environment_reward, recipe_limits
from toolrest.environments.check import Fit, Verdict, check_environment
from toolrest.errors import InputError
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLAYED = 3
_STATUSES = {
    Verdict.FINE: Status.OK,
    Verdict.NOTE: Status.NOTE,
    Verdict.WRONG: Status.PROBLEM,
}


def check_rows(recipe: Recipe) -> list[Check]:
    """Whether the first rows that episodes begin with can be read; a check a source."""
    checks = []
    if not recipe.sources:
        made = f"{made_rows(recipe)} rows are made for {recipe.environment.source}"
        checks.append(Check("data", Status.OK, f"{made}; no file is needed"))
    for source in (*recipe.sources, *recipe.evaluation_sources):
        try:
            read = first_episodes(source)
        except InputError as error:
            checks.append(Check("data", Status.PROBLEM, str(error)))
        else:
            found = f"{source.path}: the first {len(read)} rows are read, each for an episode"
            checks.append(Check("data", Status.OK, found))
    return checks


def check_episodes(recipe: Recipe, tokenizer: PreTrainedTokenizerBase | None) -> list[Check]:
    """What `toolrest.environments.check` finds, with the recipe's limits. The environment is run.

    Args:
        recipe: one with an environment.
        tokenizer: the policy's; None: no lengths are looked at.
    """
    fit = None
    if tokenizer is not None:
        fit = Fit(
            lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
            recipe.data.max_prompt_tokens,
            recipe.environment.max_result_tokens,
        )
    source = recipe.environment.source
    assert source is not None
    reward = environment_reward(recipe)
    found = check_environment(source, _rows(recipe), recipe_limits(recipe), fit, reward)
    return [Check("episodes", _STATUSES[each.verdict], each.text) for each in found]


def _rows(recipe: Recipe) -> list[Mapping[str, Any]]:
    """The first rows that episodes begin with."""
    sources = recipe.sources
    if sources:
        return list(islice((row for each in sources for row in first_episodes(each)), _PLAYED))
    few = recipe.environment.model_copy(update={"rows": _PLAYED})
    samples = episode_samples(recipe.model_copy(update={"environment": few}))
    return [sample.columns or {} for sample in samples.train]
