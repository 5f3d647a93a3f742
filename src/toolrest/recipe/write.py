"""A resolved recipe as YAML, with the reasons of values that were worked out."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from toolrest.io.files import split_lines
from toolrest.recipe.schema import Recipe
from toolrest.recipe.versions import SCHEMA

_WORKED_OUT = "# worked out: "
_OWN_KEY = re.compile(r"  [a-z_]+: ")
"""A line of YAML with a section's own key and a plain value."""
_TOP_KEY = re.compile(r"[a-z_]+: \S")
"""A line of YAML with a key of no section and a plain value."""


def dump_recipe(
    recipe: Recipe, reasons: Mapping[str, str] | None = None, *, said: bool = False
) -> str:
    """The resolved recipe as YAML.

    Args:
        reasons: where values come from, by keys such as `rollout.group_size` or `max_steps`;
            written as comments.
        said: only the keys that the recipe says, for processes that work out the rest.
    """
    values = {"schema": SCHEMA, **recipe.model_dump(mode="json", exclude_unset=said)}
    text = yaml.safe_dump(values, sort_keys=False)
    if not reasons:
        return text
    lines, section = [], ""
    for line in split_lines(text):
        name = line.strip().partition(":")[0]
        if not line.startswith((" ", "-")):
            section = name
        known = reasons.get(_key(line, section))
        lines.append(f"{line}  {_WORKED_OUT}{known}" if known else line)
    return "\n".join(lines) + "\n"


def read_reasons(text: str) -> dict[str, str]:
    """The reasons that `dump_recipe` wrote, by key."""
    found, section = {}, ""
    for line in split_lines(text):
        if line and not line.startswith((" ", "-")):
            section = line.partition(":")[0]
        before, mark, why = line.partition(_WORKED_OUT)
        if mark and (key := _key(before, section)):
            found[key] = why.strip()
    return found


def _key(line: str, section: str) -> str:
    """The key whose plain value a line of YAML has; empty where it has none."""
    name = line.strip().partition(":")[0]
    if _TOP_KEY.match(line):
        return name
    return f"{section}.{name}" if _OWN_KEY.match(line) else ""
