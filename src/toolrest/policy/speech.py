"""How a policy's tokens are read: dialect, bytes of the tokens, end of the turn.

Everything that samples, labels, rewards or teaches takes these from here, so that a response begins
and ends at the same token everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import Dialect
from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError
from toolrest.policy.template import end_of_turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAIL = 64
"""Tokens of a prompt's end that can hold the beginning of a reply."""


@dataclass(frozen=True)
class Speech:
    """Dialect, vocabulary and stop tokens of a policy."""

    dialect: Dialect
    """How it writes thoughts, calls and responses."""
    vocabulary: Vocabulary
    """The bytes of its tokens, the dialect's marks included."""
    stop_ids: tuple[int, ...]
    """Tokens that end a response; the tokenizer's own is the first."""
    end_id: int
    """The one that the chat template writes after a reply, else the first of `stop_ids`."""
    calls_end_id: int
    """The one that the dialect's models write after calls, else `end_id`."""

    def opening(self, prompt_ids: Sequence[int]) -> str:
        """The part of the reply that the prompt has written already; see `Dialect.opening`."""
        return self.dialect.opening(self.vocabulary.text(prompt_ids[-_TAIL:]))

    def ended(self, response: Sequence[int], *, calls: bool = False) -> list[int]:
        """A demonstration's tokens, with the end-of-turn token added if it is missing.

        Args:
            calls: whether the turn calls tools.
        """
        if len(response) and response[-1] in self.stop_ids:
            return [*response]
        return [*response, self.calls_end_id if calls else self.end_id]


def read_speech(
    tokenizer: PreTrainedTokenizerBase, dialect: Dialect, generation_config: Any = None
) -> Speech:
    """How a policy's responses are read.

    Args:
        generation_config: the policy's, whose end tokens count; None: it has none.

    Raises:
        InputError: nothing says which token ends a turn, or the tokens' bytes cannot be read.
    """
    stops = stop_token_ids(tokenizer, dialect, generation_config)
    vocabulary = Vocabulary.from_tokenizer(
        tokenizer,
        written_special_tokens={*dialect.special_tokens, *dialect.thought_marks},
        end_ids=stops,
    )
    end = _token_id(tokenizer, end_of_turn(tokenizer))
    end = stops[0] if end is None else end
    calls_end = _token_id(tokenizer, dialect.calls_end)
    return Speech(dialect, vocabulary, stops, end, end if calls_end is None else calls_end)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str | None) -> int | None:
    """The id of a token; None: the vocabulary has none of that name."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if token is None:
        return None
    return tokenizer.get_vocab().get(token) if backend is None else backend.token_to_id(token)


def stop_token_ids(
    tokenizer: PreTrainedTokenizerBase, dialect: Dialect, generation_config: Any = None
) -> tuple[int, ...]:
    """The tokens that end a turn: the tokenizer's, the generation configuration's, the one that the
    chat template writes after a reply, and the dialect's, as far as the vocabulary has them.

    Raises:
        InputError: there is none.
    """
    named = getattr(generation_config, "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(named if isinstance(named, list | tuple) else [named])]
    written = end_of_turn(tokenizer)
    ends += [_token_id(tokenizer, token) for token in (written, *dialect.stop_tokens)]
    found = tuple(dict.fromkeys(end for end in ends if isinstance(end, int)))
    if not found:
        raise InputError(
            "nothing says which token ends a turn: neither the policy's tokenizer (eos_token) nor "
            "its generation_config.json (eos_token_id), chat template or dialect"
        )
    return found
