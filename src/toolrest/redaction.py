"""Keys and passwords are taken out of what is written or said."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

HIDDEN = "***"
"""What stands in their place."""
_SHORTEST = 12
"""Characters of a variable's value; a shorter one may be any word."""
_SECRET_NAME = re.compile(
    r"(?:^|_|API)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE
)
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


def redacted(text: str) -> str:
    """The text without the environment's keys, passwords in addresses and what looks like a key."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    return _KNOWN_SHAPE.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, text))


def redacted_command(words: Sequence[str]) -> list[str]:
    """A command line's words, `redacted`; also what follows a name such as `api_key`."""
    made: list[str] = []
    for word in words:
        if made and _OPTION.match(made[-1]) and not word.startswith("-"):
            made.append(HIDDEN)
        else:
            made.append(_NAMED.sub(rf"\g<name>\g<between>{HIDDEN}", redacted(word)))
    return made


def holds_key(name: str, value: str) -> bool:
    """Whether a setting's value is a key, a password or an address with one, as far as one sees."""
    return redacted(value) != value or bool(value and _NAMED.match(f"{name}={value}"))


def without_keys(text: str) -> str:
    """The text without the values of the environment's keys, for files that hold data."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    return text


def _secrets() -> list[str]:
    """Values of variables whose names end with KEY, TOKEN, SECRET or PASSWORD; longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST and "/" not in value[:1]
    }
    return sorted(found, key=len, reverse=True)
