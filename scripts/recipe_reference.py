"""Write docs/recipe.md, every key of a recipe, from the fields and their texts.

python scripts/recipe_reference.py
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from toolrest.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
_HEAD = """# Every key of a recipe

A recipe is a YAML file of these keys, all of which may be left out; `toolrest train` takes them as
`KEY=VALUE`, too. An unknown key is an error that names the nearest known one, and what an engine
cannot do is refused by name. What is said and plays no part, such as `lora.alpha` without adapters,
is told in a note as a run begins, and by `toolrest train --dry-run`, which prints the whole recipe.
This page is written by `python scripts/recipe_reference.py` from the texts in
`src/toolrest/recipe`.
"""
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def reference() -> str:
    """The page."""
    return "\n".join([_HEAD, *_section(Recipe, "", "The run")]).rstrip("\n") + "\n"


def _section(model: type[BaseModel], prefix: str, title: str) -> Iterator[str]:
    """A section's own keys, then those of the sections in it."""
    inner = []
    yield f"## {title}\n"
    yield f"{_one_line(model.__doc__ or '')}\n"
    yield "| key | value | usual | |\n| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner.append((kind, f"{prefix}{name}."))
            continue
        usual = "must be said" if field.is_required() else _shown(_default(field))
        said = _one_line(field.description or "").replace("|", "\\|")
        said = said.replace("Unsaid: see `Recipe`.", "Unsaid: worked out, see above.")
        yield f"| `{prefix}{name}` | {_value(field)} | {usual} | {said} |"
        part = next((each for each in get_args(kind) if _is_section(each)), None)
        if part is not None:
            inner.append((part, f"{prefix}{name}[]."))
    yield ""
    for kind, inside in inner:
        yield from _section(kind, inside, f"`{inside.rstrip('.')}`")


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _value(field: FieldInfo) -> str:
    limits = [
        f"{word} {getattr(each, name):g}"
        for each in field.metadata
        for name, word in _LIMITS.items()
        if getattr(each, name, None) is not None
    ]
    return ", ".join([_kind(field.annotation), *limits])


def _kind(kind: Any) -> str:
    """A type in words."""
    parts, origin = get_args(kind), get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in parts if each is not type(None))
    if origin is list:
        return "list" if _is_section(parts[0]) else f"list of {_kind(parts[0])}"
    if origin is dict:
        return "mapping"
    words = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    return words.get(kind, "value")


def _shown(usual: Any) -> str:
    if usual is None:
        return ""
    if isinstance(usual, bool | int | float):
        return f"`{str(usual).lower() if isinstance(usual, bool) else format(usual, 'g')}`"
    return f"`{yaml.safe_dump(usual, default_flow_style=True, width=200).splitlines()[0]}`"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
