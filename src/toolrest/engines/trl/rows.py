"""The rows that TRL trains on, each made when a step asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from toolrest.data.prompts import TemplateRefusal, render_prompts
from toolrest.data.sample import Sample
from toolrest.data.stored import StoredSamples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACE = "place"
ROW = "toolrest_row"
"""The column of rows that an episode is about: what `reset` is given, as JSON."""


def training_rows(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """A data set of the samples, in their order, of these columns:

    - `prompt`: what rewards and rollouts show of it: its messages, or its text where the chat
      template has to list tools or write calls
    - `prompt_ids`: its tokens, a list of ids
    - `ground_truth`, a list of them where an episode's dialogue is known; `identity`
    - `tools`: what the dialect reads values by, as JSON text, or None; not there where no sample
      has any

    Args:
        samples: the chat template has taken all of them before.
    """
    places = Dataset.from_dict({_PLACE: range(len(samples))})
    return places.with_transform(_Made(samples, tokenizer))


class _Made:
    """Makes rows of samples."""

    def __init__(self, samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase) -> None:
        self._samples = samples
        self._tokenizer = tokenizer
        self._declare = _declare(samples)
        self._last: dict[int, dict[str, Any]] = {}
        """The rows of the last batch, which an engine asks for once a part of it."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: the data set's fingerprint, which nobody reads, is taken of this."""
        return {}

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """The columns of the rows at some places, which may be there several times."""
        places = batch[_PLACE]
        missing = [place for place in dict.fromkeys(places) if place not in self._last]
        made = dict(zip(missing, self._rows(missing), strict=True))
        self._last = {place: made.get(place) or self._last[place] for place in places}
        rows = [deepcopy(self._last[place]) for place in places]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _rows(self, places: list[int]) -> list[dict[str, Any]]:
        samples = [self._samples[place] for place in places]
        if any(sample.columns is not None for sample in samples):
            return [_of_episode(sample) for sample in samples]
        rows = []
        for sample, ids in zip(samples, render_prompts(samples, self._tokenizer), strict=True):
            if isinstance(ids, TemplateRefusal):
                raise ids
            row = {
                "prompt": self._prompt(sample, ids),
                "prompt_ids": list(ids),
                "ground_truth": sample.ground_truth,
                "identity": sample.identity,
            }
            if self._declare:
                row["tools"] = json.dumps(sample.declared) if sample.declared else None
            rows.append(row)
        return rows

    def _prompt(self, sample: Sample, ids: list[int]) -> Any:
        if sample.tools is None and all(set(m) == {"role", "content"} for m in sample.prompt):
            return list(sample.prompt)
        return self._tokenizer.decode(list(ids))


def _of_episode(sample: Sample) -> dict[str, Any]:
    """A row that an episode is about; its prompt is what the environment begins with."""
    return {
        "prompt": [{"role": "user", "content": ""}],
        "ground_truth": list(sample.truths) or "",
        "identity": sample.identity,
        ROW: json.dumps(sample.columns),
    }


def _declare(samples: Sequence[Sample]) -> bool:
    if isinstance(samples, StoredSamples):
        return samples.any_declares
    return any(sample.declared for sample in samples)
