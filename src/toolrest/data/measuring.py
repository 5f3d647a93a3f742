"""Counts the tokens of many prompts: while some are tokenised, the next are read and worded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from toolrest.data.prompts import NOTHING, write_prompts
from toolrest.data.sample import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 512
"""Prompts that are tokenised at once."""
_AHEAD = 3
"""Batches that wait to be tokenised, at most, so that memory stays flat."""

Count = Callable[[Sequence[str]], Sequence[int]]


def measure_prompts(
    samples: Iterable[Sample], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[Sample], list[int | str]]]:
    """The samples, some at a time, with the tokens of each prompt, or why the chat template refuses
    it.

    The chat template runs in this thread, where a time limit can stop it. The tokenizer runs beside
    it, on all cores.

    Raises:
        InputError: the chat template takes too long.
    """
    count = _counter(tokenizer)
    rest = iter(samples)
    waiting: deque[tuple[list[Sample], dict[int, Any], Future[Sequence[int]]]] = deque()

    def oldest() -> tuple[list[Sample], list[int | str]]:
        part, refusals, counted = waiting.popleft()
        lengths = iter(counted.result())
        return part, [
            str(refusals[place]) if place in refusals else next(lengths) or NOTHING
            for place in range(len(part))
        ]

    with ThreadPoolExecutor(1) as beside:
        while part := list(islice(rest, BATCH)):
            texts, refusals = write_prompts(part, tokenizer)
            waiting.append((part, refusals, beside.submit(count, texts)))
            if len(waiting) > _AHEAD:
                yield oldest()
        while waiting:
            yield oldest()


def _counter(tokenizer: PreTrainedTokenizerBase) -> Count:
    """What counts the tokens of texts. A tokenizer with its own way of reading is asked itself."""
    from transformers import PreTrainedTokenizerFast

    def ask(texts: Sequence[str]) -> Sequence[int]:
        if not texts:
            return []
        return list(map(len, tokenizer(list(texts), add_special_tokens=False)["input_ids"]))

    for name in ("__call__", "_encode_plus"):
        usual = getattr(PreTrainedTokenizerFast, name)
        if getattr(type(tokenizer), name, None) is not usual:
            return ask
    ask(["a"])  # sets the backend to neither cut nor pad, as each call does
    backend = cast(Any, tokenizer).backend_tokenizer

    def count(texts: Sequence[str]) -> Sequence[int]:
        return list(map(len, backend.encode_batch_fast(list(texts), add_special_tokens=False)))

    return count
