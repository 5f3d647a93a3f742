"""Removes keys and passwords from messages, and refuses to write files that hold one.

What comes from outside and is only said or noted (errors, command lines, addresses) is `redacted`
where it enters, before it is encoded or cut. Data that is scored, trained on or stored is never
rewritten: `refuse_keys` stops before it is written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from toolrest.errors import InputError, reason

HIDDEN = "***"
"""The replacement of a key."""
_ENDPOINT = "OPENAI_API_KEY"
"""The endpoint's key, which is sent to it and which it may repeat."""
_SHORTEST = 12
"""Characters of a variable's value; a shorter one may be any word."""
_SHORTEST_SENT = 8
"""The same of the endpoint's key; local servers take words such as EMPTY."""
_SECRET_NAME = re.compile(
    r"(?:^|_|API)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE
)
_SURELY_SECRET = re.compile(
    r"(?:(?:^|_)(?:SECRET|PASSWORD|PASSWD|CREDENTIALS?)|API_?KEY"
    r"|(?:ACCESS|SECRET|AUTH)_(?:KEY|TOKEN)|(?:^|_)(?:HF|HUB|GITHUB|GH)_TOKEN)$",
    re.IGNORECASE,
)
"""Names whose values are secrets whatever they look like; other keys and tokens may be words."""
_MARK = re.compile(r"[<\[{(][|｜/]?[^\W\d][^\d<>\[\]{}()\\\"'\s]*+\d{0,3}[|｜/]?[>\]})]")
"""A dialect's or a chat template's mark, as in </tool_call> or <|reserved_special_token_12|>."""
_WORD = re.compile(r"\d{1,4}(?:[A-Za-z]{0,2}|T\d\d)|(?:[A-Z]+[^\W\dA-Z]*|[^\W\dA-Z]+){1,4}\d{0,3}")
"""A word of a name or a text: letters, capitals at its parts, few digits at its end; a number."""
_LONGEST_WORD = 24
_WITHIN = re.compile(r"[^\W_][\"'\\][^\W_]")
"""A quotation mark or a backslash between letters, as no text of names and marks has it."""
_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_KNOWN_SHAPE = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|gh[opsu]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|wandb_v1_\w{20,})"
)
"""Keys of OpenAI, Hugging Face, GitHub, AWS and Weights & Biases."""
_NAMED = re.compile(
    r"(?i)^(?P<name>-{0,2}(?:[\w.-]*[_.-])?"
    r"(?:api[_-]?key|access[_-]?token|auth[_-]?token|secret|password|passwd|credentials?))"
    r"(?P<between>=)(?P<value>.+)$",
    re.DOTALL,
)
_OPTION = re.compile(r"(?i)^--?[\w-]*(?:api-?key|token|secret|password)$")
_CUT = 200
"""Characters of an error that a message repeats."""


def redacted(text: str) -> str:
    """The text with keys and passwords replaced by `***`."""
    values = {form for value in _named_so().values() for form in _forms(value)}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _KNOWN_SHAPE.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, text))


def redacted_command(words: Sequence[str]) -> list[str]:
    """A command line's words, `redacted`, and also values after names such as `api_key`."""
    made: list[str] = []
    for word in words:
        if made and _OPTION.match(made[-1]) and not word.startswith("-"):
            made.append(HIDDEN)
        else:
            made.append(_NAMED.sub(rf"\g<name>\g<between>{HIDDEN}", redacted(word)))
    return made


def first_line(error: BaseException, most: int = _CUT) -> str:
    """The first line of an error's message, `redacted`; its class name if there is none."""
    text = reason(error, redacted)
    return text if len(text) <= most else f"{text[:most]}.."


def looks_like_key(name: str, value: str) -> bool:
    """Whether a setting looks like a key, a password or an address with one."""
    shapes = _KNOWN_SHAPE.search(value) or _IN_ADDRESS.search(value)
    return bool(shapes or (value and _NAMED.match(f"{name}={value}")))


def key_in(text: str, keys: Mapping[str, str] | None = None) -> str | None:
    """The variable of the environment whose value, a key (see SECURITY.md), stands in a text.

    It is seen as it is, and as JSON, Python or an address writes it, also inside of JSON.

    Args:
        keys: what `keys_of_environment` gives, for many texts; looked up if None.
    """
    for name, value in (keys_of_environment() if keys is None else keys).items():
        forms = _forms(value)
        if any(form in text for form in (*forms, *(e for form in forms for e in _as_json(form)))):
            return name
    return None


def refuse_keys(text: str, where: object) -> None:
    """Refuse to write a text that holds a key of the environment.

    Args:
        where: what is to be written, for the message.

    Raises:
        InputError: it does; the variable is named, its value is not.
    """
    if (name := key_in(text)) is not None:
        raise InputError(
            f"{where}: not written, since it would hold the value of the variable {name}, which is "
            f"taken for a key; if it is none, unset {name} and start again; if it is one, find out "
            "how it came into the data or the answers, and take a new one"
        )


def refuse_keys_of(value: Any, where: object) -> None:
    """`refuse_keys` of plain values, such as a row."""
    if keys_of_environment():
        refuse_keys(json.dumps(value, ensure_ascii=False, default=str), where)


def _named_so() -> dict[str, str]:
    """Values of variables whose names end with KEY, TOKEN, SECRET or PASSWORD, by name."""
    named = {name: os.environ[name] for name in os.environ if _SECRET_NAME.search(name)}
    return {
        name: value
        for name, value in named.items()
        if len(value.strip()) >= (_SHORTEST_SENT if name == _ENDPOINT else _SHORTEST)
        and (name == _ENDPOINT or not _is_path(value))
    }


def keys_of_environment() -> dict[str, str]:
    """Of these the values that are keys, not names or marks, by the variable's name."""
    return {
        name: value
        for name, value in _named_so().items()
        if name == _ENDPOINT
        or _KNOWN_SHAPE.search(value)
        or not (_is_marks if _SURELY_SECRET.search(name) else _is_text)(value)
    }


def _is_path(value: str) -> bool:
    """Whether a value names a file, as that of SSH_KEY does: words between slashes."""
    return value.startswith("/") and _is_text(value)


def _is_marks(value: str) -> bool:
    """Whether marks leave too little of a value to be a key."""
    return len(_MARK.sub("", value).strip()) < _SHORTEST_SENT


def _is_text(value: str) -> bool:
    """Whether a value is words, names and marks, and not drawn at random."""
    rest = _MARK.sub(" ", value)
    if _WITHIN.search(rest):
        return False
    words: Iterable[str] = re.findall(r"[^\W_]+", rest)
    return all(len(word) <= _LONGEST_WORD and _WORD.fullmatch(word) for word in words)


def _forms(value: str) -> tuple[str, ...]:
    """A value as it is, without blanks around it, and as it is written inside of other texts."""
    made: dict[str, None] = {}
    for each in (value, value.strip()):
        made[each] = None
        made |= dict.fromkeys(_as_json(each))
        made |= dict.fromkeys((repr(each)[1:-1], ascii(each)[1:-1]))
        encoded = each.encode("utf-8", "surrogatepass")
        made |= dict.fromkeys((quote(encoded, safe=""), quote(encoded), quote_plus(encoded)))
    return tuple(made)


def _as_json(text: str) -> tuple[str, str]:
    """A text as JSON writes it, without the quotation marks."""
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
