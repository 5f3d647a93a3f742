"""The rows of a run: whole episodes, single steps beside episodes, or single responses."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from toolrest.data.prompts import fit_prompts
from toolrest.data.stored import pick
from toolrest.engines.common.data import Samples, load_samples
from toolrest.engines.common.episode_rows import episode_samples
from toolrest.engines.common.reading import Rows, count_rows, read_rows
from toolrest.errors import InputError
from toolrest.recipe import Recipe
from toolrest.recipe.sources import recipe_rendering, recipe_sources

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run_samples(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: Rows | None = None
) -> Samples:
    """What a recipe trains on and is evaluated on.

    Args:
        recipe: fitted to the chat template.
        rows: what `read_rows` gives; None: they are read where they are needed.

    Raises:
        InputError: the data cannot be used, or are too few.
    """
    if recipe.acts:
        return episode_samples(recipe)
    if recipe.environment.source is not None:
        return step_samples(recipe, tokenizer, rows)
    return load_samples(recipe, tokenizer, rows)


def step_samples(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: Rows | None = None
) -> Samples:
    """The steps of the rows that episodes would be trained on, and the rows that are held out for
    whole episodes: those of a recipe that differs in `environment.train` alone.

    Args and errors are those of `run_samples`.
    """
    whole = episode_samples(recipe)
    if recipe_sources(recipe):
        rows = read_rows(recipe, tokenizer) if rows is None else rows
        wanted = _places(recipe, rows, {sample.identity for sample in whole.train})
    else:
        from toolrest.world.chain_steps import chain_steps

        episodes = [sample.columns or {} for sample in whole.train]
        rows = count_rows([chain_steps(episodes, recipe_rendering(recipe))], tokenizer)
        wanted = list(range(len(rows.samples)))
    samples = pick(rows.samples, wanted)
    lengths = [rows.lengths[place] for place in wanted]
    fit = fit_prompts(samples, lengths, recipe.data.max_prompt_tokens)
    if len(fit.kept) < recipe.rollout.prompts_per_step:
        raise InputError(
            f"data: {len(fit.kept)} single steps are left to train on, fewer than "
            f"rollout.prompts_per_step={recipe.rollout.prompts_per_step}; lower it, or raise "
            "data.max_prompt_tokens"
        )
    return Samples(pick(samples, fit.kept), whole.heldout, fit.dropped, fit.refused)


def _places(recipe: Recipe, rows: Rows, identities: set[str]) -> list[int]:
    """The places of the steps of some rows, whose identities `episode_samples` gives."""
    paths = [source.path for source in recipe_sources(recipe)]
    found: list[int] = []
    bounds = pairwise(accumulate(rows.counts, initial=0))
    for path, (start, end) in zip(paths, bounds, strict=True):
        for place in range(start, end):
            number, _, _ = rows.samples[place].row.partition(".")
            if f"{path}:{number}" in identities:
                found.append(place)
    return found
