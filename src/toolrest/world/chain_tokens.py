"""Token ids of a trajectory of the chains, as the embedded policies see it.

Each turn's ids begin with all ids before. Between two turns stand the ids of the results' message,
by the policy's chat template: what the policy has sampled is never tokenised again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END = "<|im_end|>"
"""Ends a turn."""


def prompt_ids(messages: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the first turn follows, [L]."""
    return render_chat(Prompt(list(messages)), tokenizer)


def reply_ids(reply: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of a demonstrated turn with its end, [T]."""
    return tokenizer(reply + END, add_special_tokens=False)["input_ids"]


def seam_ids(results: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids between a turn that has ended and the next one, [S].

    Args:
        results: (tool's name, text) of each call.
    """
    lines = "\n".join(
        json.dumps({"name": name, "result": text}, ensure_ascii=False) for name, text in results
    )
    text = f"\n<|im_start|>user\nTool results:\n{lines}{END}\n<|im_start|>assistant\n"
    return tokenizer(text, add_special_tokens=False)["input_ids"]
