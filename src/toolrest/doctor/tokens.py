"""Whether the policy's tokens carry the dialect: bytes, regions, marks, the end of a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toolrest.core.dialects import Dialect, ToolCall, get_dialect
from toolrest.core.regions import Region, label_array
from toolrest.core.vocabulary import Vocabulary
from toolrest.doctor.check import Check, Status
from toolrest.errors import InputError
from toolrest.policy.speech import read_speech, stop_token_ids
from toolrest.policy.template import after_reply
from toolrest.policy.weights import load_generation_config
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CALLS = (
    ToolCall("get_weather", {"city": "東京", "days": 3, "note": "naïve café 🙂🏽\nsecond line"}),
    ToolCall("search", {"query": 'a "quoted" \\ path, {braces}', "limits": [1.5, None, True]}),
)
"""Calls whose values are as odd as real ones."""
_TEXTS = (
    "Plain words, 12,345.67 and\ttabs.\n\nTwo new lines,  two spaces.",
    '{"name": "f", "parameters": {"a": [1, 2, {"b": "}}"}]}}\n',
    "今天天气很好。Привет! ¿Qué tal? العربية हिन्दी 한국어",
    "👩‍👩‍👧‍👦 🇯🇵 ∑∫√ ≠ “quotes” … — €",
)


def read_vocabulary(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """The bytes of the policy's tokens, with the marks that its dialect writes.

    Raises:
        InputError: they cannot be read; see `read_speech`.
    """
    return read_speech(tokenizer, get_dialect(recipe.dialect)).vocabulary


def check_round_trip(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary
) -> list[Check]:
    """Whether text becomes ids and the same text again: calls, JSON, other scripts, emoji.

    Returns:
        A problem where the bytes of ids are not what the tokenizer decodes, so that regions would
        be wrong; a warning where the tokenizer itself changes texts.
    """
    texts = (*_TEXTS, _reply(get_dialect(recipe.dialect)))
    for text in texts:
        ids = _encode(tokenizer, text)
        decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        read = vocabulary.text(ids)
        if read.lstrip(" ") != str(decoded).lstrip(" "):
            return [
                Check(
                    "round trip",
                    Status.PROBLEM,
                    f"the bytes of tokens are not their text: {_difference(str(decoded), read)}; "
                    "regions would be wrong",
                    "report the tokenizer: toolrest cannot read this vocabulary",
                )
            ]
        if read.lstrip(" ") != text.lstrip(" "):
            return [
                Check(
                    "round trip",
                    Status.WARNING,
                    f"the tokenizer changes texts: {_difference(text, read)}; a right value with "
                    "them cannot be written",
                    "leave rows with such values out, or take another policy",
                )
            ]
    found = f"{len(texts)} texts with calls, JSON, CJK and emoji come back unchanged"
    return [Check("round trip", Status.OK, found)]


def check_regions(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary
) -> list[Check]:
    """Whether a reply's tokens are labelled: names and parameters found, nothing unknown.

    Returns:
        A problem where they are not; the weights would miss what they are for.
    """
    ids = np.array([_encode(tokenizer, _reply(get_dialect(recipe.dialect)))], dtype=np.int64)
    mask = np.ones_like(ids, dtype=bool)
    labels = label_array(ids, mask, vocabulary, get_dialect(recipe.dialect))[0].tolist()
    counts = {region: labels.count(region) for region in Region}
    found = ", ".join(f"{n} {region.name.lower()}" for region, n in counts.items() if n)
    found = f"{len(labels)} tokens of a reply with {len(CALLS)} calls: {found}"
    bad = counts[Region.OTHER] or not counts[Region.NAME] or not counts[Region.PARAMETERS]
    if not bad:
        return [Check("regions", Status.OK, found)]
    mend = "see round trip; or another dialect: one whose marks the tokenizer keeps"
    return [Check("regions", Status.PROBLEM, found, mend)]


def check_marks(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether the dialect's marks are single tokens of the policy.

    Returns:
        A note where they are written in several tokens, which works; ok otherwise.
    """
    marks = get_dialect(recipe.dialect).special_tokens
    if not marks:
        return [Check("marks", Status.OK, f"{recipe.dialect} has no marks of its own")]
    lengths = {mark: len(_encode(tokenizer, mark)) for mark in marks}
    several = [f"{mark} {length}" for mark, length in lengths.items() if length != 1]
    if not several:
        return [Check("marks", Status.OK, f"{' '.join(marks)}: a token each")]
    found = f"written in several tokens: {', '.join(several)}; it works, and costs those tokens"
    return [Check("marks", Status.NOTE, found)]


def check_end(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether the token that ends a turn in the chat template ends a response.

    Returns:
        A problem where no token does, a warning where the template ends turns with something else
        than the tokens that do.
    """
    try:
        stops = stop_token_ids(
            tokenizer, get_dialect(recipe.dialect), load_generation_config(recipe)
        )
    except InputError as error:
        mend = "set eos_token in tokenizer_config.json to the token that ends a turn"
        return [Check("end of turn", Status.PROBLEM, str(error), mend)]
    written = ", ".join(map(str, tokenizer.convert_ids_to_tokens(list(stops))))
    after = _encode(tokenizer, after_reply(tokenizer))
    if not after:
        return [Check("end of turn", Status.NOTE, f"{written}; the chat template writes no end")]
    if after[0] not in stops:
        ends = tokenizer.decode(after[:1])
        return [
            Check(
                "end of turn",
                Status.WARNING,
                f"the chat template ends a turn with {ends!r}, but a response ends with {written}: "
                "a policy that has learned the former is not stopped by it",
                f"set eos_token in tokenizer_config.json to {ends!r}",
            )
        ]
    return [Check("end of turn", Status.OK, f"{written}, which the chat template writes too")]


def _reply(dialect: Dialect) -> str:
    """A reply with calls, and a thought where the dialect can write one."""
    try:
        return dialect.render(thought="I need two tools.", calls=CALLS, response=None)
    except InputError:
        return dialect.write(thought=None, calls=CALLS, response=None)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _difference(wanted: str, read: str) -> str:
    """The first place where two texts differ, quoted."""
    pairs = zip(wanted, read, strict=False)
    shorter = min(len(wanted), len(read))
    at = next((place for place, (a, b) in enumerate(pairs) if a != b), shorter)
    return f"{wanted[at : at + 12]!r} became {read[at : at + 12]!r}"
