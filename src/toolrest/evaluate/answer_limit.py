"""The most new tokens of an answer in an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toolrest.estimate.settings import Lengths, response_setting
from toolrest.evaluate import world
from toolrest.evaluate.target import Target
from toolrest.recipe import EMBEDDED
from toolrest.world.sets import demonstrated_world
from toolrest.world.tasks import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OF_THE_BENCHMARK = {"bfcl": 1024, "apibank": 4096}
"""API-Bank's is the published setting."""


def answer_limit(
    asked: int | None,
    benchmark: str,
    target: Target,
    positions: int | None,
    tokenizer: Callable[[], PreTrainedTokenizerBase] | None,
) -> tuple[int, str]:
    """(most new tokens of an answer, where the number is from).

    Args:
        asked: what the command says.
        positions: the longest sequence that the policy takes; None: not known.
        tokenizer: loads the policy's; None: it is not here, and the replies' bytes are counted,
            of which a token has at least one.
    """
    if asked is not None:
        return asked, "--max-tokens"
    if benchmark in _OF_THE_BENCHMARK:
        wanted = _OF_THE_BENCHMARK[benchmark]
        return _short(wanted, positions, f"usual on {benchmark}")
    trained = target.recipe.rollout.max_response_tokens
    if target.run is not None:
        return _short(trained, positions, "its run's rollout.max_response_tokens")
    if target.recipe.policy == EMBEDDED:
        return _short(trained, positions, "as the embedded policy is trained")
    knobs = target.recipe.data.world.knobs
    samples = demonstrated_world(Split.HELDOUT, world.COUNT, 0, knobs)
    texts = [sample.demonstration or sample.ground_truth for sample in samples]
    if tokenizer is None:
        value, why = response_setting(Lengths(replies=tuple(map(_bytes, texts))), positions)
        return value, f"{why}, taking each byte for one, as the policy's tokenizer is not here"
    count = tokenizer()
    replies = tuple(len(count(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts)
    return response_setting(Lengths(replies=replies), positions)


def _bytes(text: str) -> int:
    """The most tokens that a text can be, with the one that ends it."""
    return len(text.encode()) + 1


def _short(wanted: int, positions: int | None, why: str) -> tuple[int, str]:
    """A quarter of a short policy's positions at most."""
    most = wanted if positions is None else max(1, positions // 4)
    return (wanted, why) if wanted <= most else (most, f"a quarter of {positions} positions")
