"""The rows of a run, counted before it begins as training counts them, for `--dry-run`."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from toolrest.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.data.sample import Sample
    from toolrest.engines.common.data import Samples
    from toolrest.engines.common.reading import Rows
    from toolrest.recipe import Recipe

READ = 20_000
"""Samples of a source that are read; as many as the sizes of a recipe are taken from."""
_TOKENISED = 5_000
"""Samples of a source whose prompts are counted, if so many are enough for a run."""


def read_first(recipe: "Recipe") -> "list[list[Sample]]":
    """The first samples of each source of a recipe that is fitted to its policy's chat template.

    Raises:
        InputError: a row cannot be used, as in training, or a source cannot be read.
    """
    from toolrest.data.sources import iterate_samples

    rendering = recipe.rendering
    return [
        list(islice(iterate_samples(source, rendering, recipe.seed), READ))
        for source in recipe.sources
    ]


def planned_rows(
    recipe: "Recipe", tokenizer: "PreTrainedTokenizerBase", sources: "Sequence[Sequence[Sample]]"
) -> tuple[str, int | None]:
    """What of the data a run would use.

    Args:
        recipe: with its sizes worked out.
        sources: what `read_first` gives, of one source at least.

    Returns:
        (a line that says it, held-out samples; None: there are more rows than were counted).

    Raises:
        InputError: the run would stop at them.
    """
    from toolrest.engines.common.reading import count_rows, read_rows

    whole = all(len(source) <= _TOKENISED for source in sources)
    try:
        first = count_rows([source[:_TOKENISED] for source in sources], tokenizer)
        samples = _usable(recipe, tokenizer, first)
    except InputError:
        if whole:
            raise
        samples, whole = _usable(recipe, tokenizer, read_rows(recipe, tokenizer)), True
    train, heldout = len(samples.train), len(samples.heldout)
    parts = [f"{train} to train on", f"{heldout or 'none'} held out"]
    if samples.dropped:
        longest = recipe.data.max_prompt_tokens
        parts.append(f"{len(samples.dropped)} left out: data.max_prompt_tokens={longest}")
    if samples.refused:
        parts.append(f"{len(samples.refused)} left out: the chat template refuses them")
    part = "" if whole else f"of the first {_TOKENISED:,} of each source "
    return f"rows: {part}{', '.join(parts)}", heldout if whole else None


def _usable(recipe: "Recipe", tokenizer: "PreTrainedTokenizerBase", rows: "Rows") -> "Samples":
    """The samples of a run.

    Raises:
        InputError: training would stop at them.
    """
    from toolrest.engines.common.run_rows import run_samples
    from toolrest.engines.trl.demonstrated import demonstrated, supervised

    samples = run_samples(recipe, tokenizer, rows)
    if supervised(recipe) != "none":
        demonstrated(recipe, samples.train)
    return samples
