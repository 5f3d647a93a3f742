"""The rows of a run: whole episodes, single steps beside episodes, or single responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from toolrest.data.prompts import fit_prompts
from toolrest.data.sample import Sample
from toolrest.data.stored import pick
from toolrest.engines.common.data import Samples, load_samples
from toolrest.engines.common.enough import require_rows
from toolrest.engines.common.episode_rows import episode_samples
from toolrest.engines.common.reading import Rows, count_rows, read_rows
from toolrest.errors import InputError
from toolrest.recipe import Recipe

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
    if recipe.acts and recipe.reward.by_turns:
        return _with_truths(recipe, tokenizer, rows)
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
    steps, lengths, _ = _steps_of(recipe, tokenizer, whole.train, rows)
    fit = fit_prompts(steps, lengths, recipe.data.max_prompt_tokens)
    require_rows(recipe, len(fit.kept), "single steps")
    return Samples(pick(steps, fit.kept), whole.heldout, fit.dropped, fit.refused)


def _with_truths(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: Rows | None) -> Samples:
    """The rows that episodes are about, those that are trained on with the right replies of their
    dialogues.

    Raises:
        InputError: one has no dialogue; or as `run_samples`.
    """
    whole = episode_samples(recipe)
    steps, _, owners = _steps_of(recipe, tokenizer, whole.train, rows)
    truths: dict[str, list[str]] = {}
    for step, owner in zip(steps, owners, strict=True):
        truths.setdefault(owner, []).append(step.ground_truth)
    train = [replace(each, truths=tuple(truths.get(each.identity, ()))) for each in whole.train]
    bare = next((each.identity for each in train if not each.truths), None)
    if bare is not None:
        raise InputError(f"reward.by_turns=true: the row {bare} has no dialogue to score turns by")
    return replace(whole, train=train)


def _steps_of(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    episodes: Sequence[Sample],
    rows: Rows | None,
) -> tuple[Sequence[Sample], list[int | str], list[str]]:
    """The single steps of some episodes' dialogues, in order: (samples, the tokens of each prompt
    or why it is refused, the episode's identity of each).
    """
    if recipe.sources:
        rows = read_rows(recipe, tokenizer) if rows is None else rows
        known = {each.identity for each in episodes}
        found = [(at, name) for at, name in enumerate(_owners(recipe, rows)) if name in known]
        places = [at for at, _ in found]
        lengths = [rows.lengths[at] for at in places]
        return pick(rows.samples, places), lengths, [name for _, name in found]
    from toolrest.world.chain_steps import chain_steps

    begun = [each.columns or {} for each in episodes]
    rows = count_rows([chain_steps(begun, recipe.rendering)], tokenizer)
    owners = [sample.group.partition(":")[2] for sample in rows.samples]
    return rows.samples, list(rows.lengths), owners


def _owners(recipe: Recipe, rows: Rows) -> Iterator[str]:
    """The identity that `episode_samples` gives to the row of each sample."""
    paths = [source.path for source in recipe.sources]
    bounds = pairwise(accumulate(rows.counts, initial=0))
    for path, (start, end) in zip(paths, bounds, strict=True):
        for place in range(start, end):
            number, _, _ = rows.samples[place].row.partition(".")
            yield f"{path}:{number}"
