"""verl's reward manager on the response's bytes.

verl decodes a response without its special tokens; a dialect whose marks are special tokens loses
its calls by that. Here a response is read as the TRL engine reads it.
"""
# verl is not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from typing import Any

from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from toolrest.core.dialects import get_dialect
from toolrest.core.vocabulary import Vocabulary
from toolrest.policy.speech import read_speech


class ToolRewardManager(NaiveRewardManager):
    """`NaiveRewardManager` that hands the reward function the text of the ids as sampled."""

    def __init__(self, config: Any, tokenizer: Any, *positional: Any, **keywords: Any) -> None:
        super().__init__(config, tokenizer, *positional, **keywords)
        self.tokenizer = _AsSampled(
            read_speech(tokenizer, get_dialect(config.toolrest.dialect)).vocabulary
        )


class _AsSampled:
    """A tokenizer that only decodes: ids to text through their bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def decode(self, ids: Any, skip_special_tokens: bool = True) -> str:
        return self._vocabulary.text(ids.tolist())
