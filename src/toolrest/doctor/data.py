"""The first rows of a recipe's data, and how many of their prompts are too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolrest.core.dialects import AUTO
from toolrest.data.prompts import TemplateRefusal, hold_out, render_prompt
from toolrest.data.sample import Sample
from toolrest.data.sources import Source
from toolrest.doctor.check import Check, Status
from toolrest.doctor.preflight import ROWS, first_rows
from toolrest.engines.common.enough import least_rows
from toolrest.errors import InputError
from toolrest.estimate.settings import Lengths, response_tokens
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CUT = 0.05
"""Share of the replies that may be longer than a response."""


def check_rows(recipe: Recipe) -> tuple[list[Sample], list[Check]]:
    """Whether the first rows of every source can be read.

    Returns:
        Their samples, and a check a source: a problem where it cannot be read, its format is not
        known, or a row is bad, at which training stops.
    """
    sources = recipe.sources
    if not sources:
        from toolrest.world.sets import world_samples
        from toolrest.world.tasks import Split

        found = "the embedded world's tasks; no file is needed"
        made = world_samples(Split.TRAIN, ROWS, recipe.seed, recipe.data.world.knobs)
        return made, [Check("data", Status.OK, found)]
    samples, checks, whole = _read(sources, recipe)
    if whole and not any(check.status is Status.PROBLEM for check in checks):
        checks += _enough(samples, recipe)
    return samples, checks


def check_evaluation_rows(recipe: Recipe) -> list[Check]:
    """Whether the first rows of `evaluation.path` can be read, as `check_rows` does; nothing where
    the recipe has none.
    """
    return _read(recipe.evaluation_sources, recipe)[1]


def _read(sources: Sequence[Source], recipe: Recipe) -> tuple[list[Sample], list[Check], bool]:
    """(the first samples of some sources, a check each, whether these are all that they have)."""
    samples: list[Sample] = []
    checks, whole = [], True
    for source in sources:
        try:
            read = first_rows(source, recipe)
        except InputError as error:
            mend = "data.path=FILE, or data.sources, for rows that are there (docs/data.md)"
            checks.append(Check("data", Status.PROBLEM, str(error), mend))
            continue
        whole = whole and len(read) < ROWS and source.take is None
        made = [sample for row in read for sample in row.samples]
        samples += made
        bad = [row for row in read if row.bad is not None]
        if bad:
            found = f"{source.path}: {len(bad)} of the first {len(read)} rows are bad"
            found += f"; row {bad[0].number}: {bad[0].bad}"
            mend = f"toolrest data check {source.path}, then toolrest data prepare leaves them out"
            checks.append(Check("data", Status.PROBLEM, found, mend))
        elif recipe.dialect == AUTO and not made:
            found = f"{source.path}: the first {len(read)} rows are of a known format"
            checks.append(Check("data", Status.NOTE, f"{found}; samples need a dialect"))
        elif not made:
            found = f"{source.path}: the first {len(read)} rows give no sample"
            mend = f"toolrest data check {source.path} says why"
            checks.append(Check("data", Status.PROBLEM, found, mend))
        else:
            found = f"{source.path}: the first {len(read)} rows give {len(made)} samples"
            checks.append(Check("data", Status.OK, found))
    return samples, checks, whole


def _enough(samples: list[Sample], recipe: Recipe) -> list[Check]:
    """A problem where all samples are known, and are too few for a step."""
    fraction = recipe.data.heldout_fraction if recipe.evaluation.samples else 0.0
    train, _ = hold_out(samples, fraction, recipe.seed)
    if len(train) >= least_rows(recipe):
        return []
    return [
        Check(
            "rows",
            Status.PROBLEM,
            f"{len(train)} samples to train on, fewer than "
            f"rollout.prompts_per_step={recipe.rollout.prompts_per_step}",
            f"rollout.prompts_per_step={max(1, len(train))} or less, or more rows",
        )
    ]


def prompt_lengths(
    samples: list[Sample], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[Check]]:
    """Tokens of each sample's prompt, in order, of those that the chat template does not refuse.

    Returns:
        The lengths; and a warning where some are refused, a problem where all are.
    """
    lengths, refused = [], []
    for sample in samples:
        try:
            lengths.append(len(render_prompt(sample, tokenizer)))
        except TemplateRefusal as refusal:
            refused.append(f"row {sample.row or sample.identity}: {refusal}")
    if not refused:
        return lengths, []
    status = Status.WARNING if lengths else Status.PROBLEM
    found = f"{len(refused)} of {len(samples)} are refused; {refused[0]}"
    return lengths, [Check("prompts", status, found, "they are left out; or data.prompt=plain")]


def check_lengths(recipe: Recipe, lengths: list[int]) -> list[Check]:
    """How many prompts are longer than the recipe allows, and would be left out.

    Returns:
        A warning where some are, a problem where all are.
    """
    most = recipe.data.max_prompt_tokens
    ordered = sorted(lengths)
    long = sum(length > most for length in lengths)
    found = (
        f"{ordered[len(ordered) // 2]} tokens in the middle, {ordered[-1]} at most, of "
        f"{len(ordered)} prompts"
    )
    if not long:
        return [Check("prompts", Status.OK, f"{found}; data.max_prompt_tokens={most}")]
    status = Status.PROBLEM if long == len(ordered) else Status.WARNING
    found = f"{long} of {len(ordered)} are longer than data.max_prompt_tokens={most}; {found}"
    mend = f"they are left out; data.max_prompt_tokens={ordered[-1]} would keep these"
    return [Check("prompts", status, found, mend)]


def check_replies(recipe: Recipe, lengths: Lengths) -> list[Check]:
    """How many demonstrations, or ground truths where there are none, are longer than a response
    may be, so that a policy that writes as they do is cut off.

    Returns:
        A warning where more than a twentieth are.
    """
    if not lengths.replies:
        return []
    most = recipe.rollout.max_response_tokens
    ordered = sorted(lengths.replies)
    long = sum(length > most for length in ordered)
    found = (
        f"{ordered[len(ordered) // 2]} tokens in the middle, {ordered[-1]} at most, of "
        f"{len(ordered)} demonstrations or ground truths"
    )
    key = f"rollout.max_response_tokens={most}"
    if long <= len(ordered) * _CUT:
        return [Check("replies", Status.OK, f"{found}; {key}")]
    found = f"{long} of {len(ordered)} are longer than {key}; {found}"
    mend = f"rollout.max_response_tokens={response_tokens(lengths)}"
    return [Check("replies", Status.WARNING, found, mend)]
