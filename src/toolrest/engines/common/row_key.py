"""The key of what is made of a run's rows: a hash of everything that it follows from."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

from toolrest.core.dialects import get_dialect
from toolrest.data.rows import find_file
from toolrest.data.sources import Source, answers_beside
from toolrest.io.files import sha256_of
from toolrest.recipe import Recipe
from toolrest.runs.environment import source_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PACKAGES = ("transformers", "tokenizers", "jinja2", "pyarrow")
"""Others' packages that read rows, word prompts or count tokens."""
_TODAY = "strftime_now"
"""What a chat template asks for today's date with."""


def row_key(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The key, 64 hexadecimal digits: of the bytes of the data files, of how the recipe has rows
    drawn and worded, of the tokenizer and its chat template, and of the code.

    Args:
        recipe: fitted to the chat template.

    Returns:
        None where something is not known by its bytes: rows on the hub, a dialect or a tokenizer
        with code of its own.

    Raises:
        InputError: there is no such file.
    """
    dialect = type(get_dialect(recipe.dialect))
    ours = dialect.__module__.startswith("toolrest.")
    theirs = type(tokenizer).__module__.startswith("transformers.")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    sources = [_source(source) for source in recipe.sources]
    if not ours or not theirs or backend is None or None in sources:
        return None
    parts = {
        "code": source_hash(),
        "versions": [sys.version, *map(_version, _PACKAGES)],
        "sources": sources,
        "seed": recipe.seed,
        "rendering": asdict(recipe.rendering),
        "dialect": [dialect.__qualname__, str(vars(get_dialect(recipe.dialect)))],
        "tokenizer": _tokenizer(tokenizer, backend),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source(source: Source) -> list[Any] | None:
    """A source with the bytes of its files; None of one on the hub."""
    file = find_file(source.path)
    if file is None:
        return None
    beside = answers_beside(source.path)
    return [asdict(source), sha256_of(file), None if beside is None else sha256_of(beside)]


def _tokenizer(tokenizer: PreTrainedTokenizerBase, backend: Any) -> list[Any]:
    kind, asked = type(tokenizer), cast(Any, tokenizer)
    template = json.dumps(tokenizer.chat_template, sort_keys=True)
    return [
        f"{kind.__module__}.{kind.__qualname__}",
        hashlib.sha256(backend.to_str().encode("utf-8", "replace")).hexdigest(),
        template,
        date.today().isoformat() if _TODAY in template else "",
        {name: str(value) for name, value in tokenizer.special_tokens_map.items()},
        [asked.split_special_tokens, str(getattr(asked, "chat_control_tokens", None))],
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
