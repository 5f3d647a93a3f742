"""The policy's files and tokenizer, and whether they fit the recipe's dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolrest.dialects import Dialect, ToolCall, detect_dialect, get_dialect
from toolrest.doctor.check import Check, Status
from toolrest.doctor.hub import is_cached, why_unreachable
from toolrest.errors import InputError
from toolrest.mixture import recipe_rendering
from toolrest.policy import has_adapters, load_tokenizer, policy_path
from toolrest.recipe import Recipe
from toolrest.regions import Region, label_array
from toolrest.vocabulary import Vocabulary

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


def check_files(recipe: Recipe) -> list[Check]:
    """Whether a policy in a folder is whole; one on the hub is only named.

    Weights are not read, but every file's header and size are.

    Raises:
        InputError: the folder is not there or lacks a file; see `policy_path`.
    """
    path = Path(policy_path(recipe))
    if not path.is_dir():
        return [_check_hub(recipe.policy)]
    for name in ("config.json", "adapter_config.json", "tokenizer_config.json"):
        file = path / name
        if file.is_file():
            _read_json(file)
    torn = _torn_weights(path)
    if torn:
        return [
            Check("policy", Status.PROBLEM, f"{recipe.policy}: {torn}", "copy the files once more")
        ]
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    kind = "adapters, " if has_adapters(path) else ""
    return [Check("policy", Status.OK, f"{recipe.policy}, {kind}{size / 1e6:,.1f} MB of weights")]


def _check_hub(policy: str) -> Check:
    if is_cached(policy):
        return Check("policy", Status.OK, f"{policy}, in the hub's cache")
    why = why_unreachable()
    if why is None:
        return Check("policy", Status.OK, f"{policy}, on the hub; not downloaded yet")
    return Check(
        "policy",
        Status.PROBLEM,
        f"{policy} is neither a folder nor in the hub's cache, and {why}",
        f"hf download {policy} where there is a network; then copy the cache (HF_HOME), or the "
        "folder and give policy=FOLDER",
    )


def _read_json(file: Path) -> dict:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable JSON ({error}); copy the file once more") from error
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected an object, got a {type(value).__name__}")
    return value


def _torn_weights(folder: Path) -> str | None:
    """What is wrong with the files of weights, or None."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    listed = _read_json(index).get("weight_map", {}).values() if index.is_file() else ()
    missing = sorted({name for name in listed if not (folder / name).is_file()})
    if missing:
        return f"{', '.join(missing)} of {index.name} missing"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{file.name} is torn ({error})"
    return None


def check_tokenizer(recipe: Recipe) -> tuple[PreTrainedTokenizerBase, list[Check]]:
    """The policy's tokenizer, and that it could be loaded.

    Raises:
        InputError: it cannot be; see `load_tokenizer`.
    """
    tokenizer = load_tokenizer(recipe)
    found = f"{type(tokenizer).__name__}, {len(tokenizer):,} tokens"
    return tokenizer, [Check("tokenizer", Status.OK, found)]


def check_dialect(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether the chat template writes calls as the recipe's dialect does.

    Where the prompt itself shows the form (data.prompt rlla or plain), it need not.

    Returns:
        A warning where it has to and does not.
    """
    template = _template(tokenizer)
    style = recipe_rendering(recipe).style
    try:
        seen = detect_dialect(template)
    except InputError:
        seen = None
    if style != "template":
        shown = f"the template's is {seen}" if seen else "the template shows none"
        found = f"{recipe.dialect}, asked for by the prompt ({style}); {shown}"
        return [Check("dialect", Status.OK, found)]
    if template is not None and "tools" not in template:
        return [
            Check(
                "dialect",
                Status.WARNING,
                "the chat template lists no tools, so a policy would not see any",
                "data.prompt=plain",
            )
        ]
    if seen is None:
        return [
            Check(
                "dialect",
                Status.WARNING,
                f"{recipe.dialect} by the recipe; the chat template is of none that toolrest knows",
                "look at what the policy writes (toolrest data show --policy), or data.prompt=plain"
                " to show it the form",
            )
        ]
    if seen != recipe.dialect:
        return [
            Check(
                "dialect",
                Status.WARNING,
                f"{recipe.dialect} by the recipe, but the chat template writes {seen}",
                f"dialect={seen}, or data.prompt=plain to show the policy the form",
            )
        ]
    return [Check("dialect", Status.OK, f"{seen}, as the chat template writes it")]


def _template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    template = tokenizer.chat_template
    return template if isinstance(template, str) else str(template) if template else None


def read_vocabulary(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """The bytes of the policy's tokens, with the marks that its dialect writes.

    Raises:
        InputError: they cannot be read; see `Vocabulary.from_tokenizer`.
    """
    marks = get_dialect(recipe.dialect).special_tokens
    return Vocabulary.from_tokenizer(tokenizer, written_special_tokens=marks)


def check_round_trip(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether text becomes ids and the same text again: calls, JSON, other scripts, emoji.

    Returns:
        A problem where the bytes of ids are not what the tokenizer decodes, so that regions would
        be wrong; a warning where the tokenizer itself changes texts.
    """
    vocabulary = read_vocabulary(recipe, tokenizer)
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


def check_regions(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether a reply's tokens are labelled: names and parameters found, nothing unknown.

    Returns:
        A problem where they are not; the weights would miss what they are for.
    """
    ids = np.array([_encode(tokenizer, _reply(get_dialect(recipe.dialect)))], dtype=np.int64)
    vocabulary = read_vocabulary(recipe, tokenizer)
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
    """Whether the token that ends a turn in the chat template is the one that ends sampling.

    Returns:
        A problem without an end-of-sequence token, a warning where the template ends turns with
        another one.
    """
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        return [
            Check(
                "end of turn",
                Status.PROBLEM,
                "the tokenizer has no end-of-sequence token, so no response would end",
                "set eos_token in tokenizer_config.json to the token that ends a turn",
            )
        ]
    word_ = "word"
    messages = [{"role": "user", "content": word_}, {"role": "assistant", "content": word_}]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    after = _encode(tokenizer, text[text.rindex(word_) + len(word_) :].lstrip())
    written = tokenizer.convert_ids_to_tokens(end)
    if after and after[0] != end:
        ends = tokenizer.decode(after[:1])
        return [
            Check(
                "end of turn",
                Status.WARNING,
                f"the chat template ends a turn with {ends!r}, the tokenizer's end token is "
                f"{written}: a policy that has learned the former is not stopped by it",
                f"set eos_token in tokenizer_config.json to {ends!r}",
            )
        ]
    if not after:
        found = f"{written}; the chat template writes no end"
        return [Check("end of turn", Status.NOTE, found)]
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
