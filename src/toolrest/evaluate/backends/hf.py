"""Gets a policy's answers by transformers in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import torch

from toolrest.core.dialects import Dialect
from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.episode import Answer, Request
from toolrest.evaluate.generation import Decoding, sample_batch
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_BATCHES_AT_ONCE = 8
"""So many batches are sorted by length together."""


class PromptCodec:
    """Encodes prompts to ids and decodes sampled ids to text, by a policy's tokenizer.

    Raises:
        InputError: nothing says which token ends a turn.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        dialect: Dialect,
        generation_config: GenerationConfig | None,
    ) -> None:
        self.tokenizer = tokenizer
        self.speech = read_speech(tokenizer, dialect, generation_config)

    def ids(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids by the chat template, [L]."""
        return render_chat(prompt, self.tokenizer)

    def text(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, with the dialect's marks and without other special tokens."""
        return self.speech.vocabulary.text(ids)

    def show(self, prompt: Prompt) -> str:
        """The prompt as one text."""
        return str(self.tokenizer.decode(self.ids(prompt)))


class LocalBackend(ABC):
    """What the backends that compute in this process share.

    Args:
        longest: tokens of the longest prompt that is asked; None: any.
        batch_size: prompts that are answered together.
        window: requests that are best passed at once.
    """

    def __init__(
        self, codec: PromptCodec, longest: int | None, batch_size: int, window: int
    ) -> None:
        self._codec = codec
        self._longest = longest
        self._batch_size = batch_size
        self.window = window

    def show(self, prompt: Prompt) -> str:
        return self._codec.show(prompt)

    def sent(self, prompt: Prompt) -> list[int]:
        return self._codec.ids(prompt)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[str, Answer]]:
        """See `Backend.answer`. Longest first, so that a batch that does not fit shows at once."""
        prompts = {each.key: each.sent or self.sent(each.prompt) for each in requests}
        fitting = []
        for key, ids in sorted(prompts.items(), key=lambda item: -len(item[1])):
            if self._longest is not None and len(ids) > self._longest:
                yield key, Answer("", "too_long", prompt_tokens=len(ids), tokens=0)
            else:
                fitting.append(key)
        for start in range(0, len(fitting), self._batch_size):
            keys = fitting[start : start + self._batch_size]
            responses = self._generate([prompts[key] for key in keys])
            for key, (response, ended) in zip(keys, responses, strict=True):
                made = Answer(
                    self._codec.text(response),
                    "end" if ended else "length",
                    prompt_tokens=len(prompts[key]),
                    tokens=len(response),
                    opening=self._codec.speech.opening(prompts[key]),
                )
                yield key, made

    @abstractmethod
    def _generate(self, prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        """(sampled ids, whether the turn has ended) of each prompt's greedy answer."""


class ModelBackend(LocalBackend):
    """Greedy answers of a policy that is loaded, in batches; it is left as it was.

    Args:
        tokenizer: the policy's.
        max_tokens: an answer that has not ended by then is cut.
        batch_size: prompts that are answered together.
        max_prompt_tokens: longer prompts are not asked; None: what the policy's positions leave.

    Raises:
        InputError: no prompt fits before an answer.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dialect: Dialect,
        max_tokens: int,
        batch_size: int,
        max_prompt_tokens: int | None = None,
    ) -> None:
        self._model = model
        codec = PromptCodec(tokenizer, dialect, model.generation_config)
        self._max_tokens = max_tokens
        positions = getattr(model.config, "max_position_embeddings", None)
        positions = positions if isinstance(positions, int) else None
        room = None if positions is None else positions - max_tokens
        if max_prompt_tokens is None and room is not None and room < 1:
            raise InputError(
                f"--max-tokens {max_tokens}: the policy has {positions} positions, so no prompt "
                "fits before that; ask for fewer"
            )
        known = [each for each in (room, max_prompt_tokens) if each is not None]
        longest = min(known, default=None)
        super().__init__(codec, longest, batch_size, batch_size * _BATCHES_AT_ONCE)

    @torch.no_grad()
    def _generate(self, prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        ends = self._codec.speech.stop_ids
        greedy = Decoding(list(ends), self._max_tokens, None)
        was_training = self._model.training
        self._model.eval()
        responses = sample_batch(self._model, self._codec.tokenizer, prompts, greedy)
        self._model.train(was_training)
        return [(ids, bool(ids) and ids[-1] in ends) for ids in responses]


class HFBackend(ModelBackend):
    """The same of a policy that it loads.

    Args:
        recipe: its policy is loaded, on the GPU where there is one.
        dtype: of weights and arithmetic.

    Raises:
        InputError: the policy cannot be loaded; or as `ModelBackend`.
    """

    def __init__(
        self,
        recipe: Recipe,
        dialect: Dialect,
        max_tokens: int,
        batch_size: int,
        max_prompt_tokens: int | None = None,
        dtype: str = "float32",
    ) -> None:
        tokenizer = load_tokenizer(recipe)
        model = load_policy(recipe, dtype=dtype).eval()
        super().__init__(model, tokenizer, dialect, max_tokens, batch_size, max_prompt_tokens)
