"""Reads untrusted YAML to plain Python values, with limits on size and depth."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from toolrest.errors import InputError

MOST_VALUES = 100_000
"""Most values of a text with its aliases expanded: a few lines can expand to billions."""
DEEPEST = 50
"""Deepest nesting of lists and mappings."""
LONGEST = 4 * 1024**2
"""Longest text, in characters."""
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_ERRORS = (
    *(yaml.YAMLError, RecursionError, ValueError, TypeError, KeyError, AttributeError),
    *(IndexError, OverflowError),
)
"""What PyYAML ends in on texts that are none."""


class _PlainLoader(yaml.SafeLoader):
    """Without dates, bytes and sets, which no recipe has: a bare date is its text."""


_PlainLoader.yaml_constructors = {
    tag: made
    for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBERS = {
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
"""YAML 1.2's numbers: 1.1 reads 010 as 8, 1:30 as 90 and 1e-6 as a text."""


def _take_numbers() -> None:
    resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag not in _NUMBERS]
        for first, found in _PlainLoader.yaml_implicit_resolvers.items()
    }
    _PlainLoader.yaml_implicit_resolvers = resolvers
    for tag, (pattern, first) in _NUMBERS.items():
        _PlainLoader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), list(first))
    _PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def _integer(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


_take_numbers()


def plain_values(text: str, where: str) -> Any:
    """The values of a YAML text: None, truth values, numbers, texts, lists and mappings.

    Args:
        where: named in errors.

    Raises:
        InputError: it is not YAML, has other kinds of values, or stands for too many.
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: over {LONGEST // 1024**2} MiB, which is no recipe")
    loader: Any = None
    try:
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        count, depth = _size(node, {})
        if count > MOST_VALUES or depth > DEEPEST:
            raise InputError(
                f"{where}: over {MOST_VALUES:,} values or {DEEPEST} levels, aliases written out"
            )
        return loader.construct_document(node)
    except InputError:
        raise
    except _ERRORS as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: not YAML ({said[:300]})") from error
    finally:
        if loader is not None:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """(values, levels) of a node, each alias counted; infinity where a value holds itself."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = (math.inf, math.inf)
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    sizes = [_size(part, known) for part in parts]
    count = 1.0 + sum(below for below, _ in sizes)
    known[id(node)] = (count, 1.0 + max((depth for _, depth in sizes), default=0.0))
    return known[id(node)]
