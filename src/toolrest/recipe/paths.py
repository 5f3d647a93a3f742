"""The paths of a recipe, made whole as it is read: it can then be used from any folder.

A path that is not whole is one from the folder that the command is given in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.errors import InputError
from toolrest.io.foreign import user_path

if TYPE_CHECKING:
    from toolrest.recipe.evaluation import Evaluation
    from toolrest.recipe.schema import Recipe
    from toolrest.recipe.sections import Data

_NAMES = ("policy", "data.path", "evaluation.path")
"""Keys whose values can be names on the hub."""
PATHS = (
    *_NAMES,
    *("evaluation.apibank", "environment.source", "reward.function", "engine.sharding"),
)
"""Keys whose values are paths or can be; `data.sources` has more of them."""
_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
"""Of a data set or a policy on the hub."""


def with_whole_paths(recipe: Recipe) -> Recipe:
    """The recipe with its paths whole."""
    whole = {
        "policy": whole_path("policy", recipe.policy),
        "data": _data(recipe.data),
        "environment": _with(recipe.environment, "source", "environment.source"),
        "reward": _with(recipe.reward, "function", "reward.function"),
        "engine": _with(recipe.engine, "sharding", "engine.sharding"),
        "evaluation": _evaluation(recipe.evaluation),
    }
    return recipe.model_copy(update=whole)


def _data(data: Data) -> Data:
    sources = []
    for source in data.sources:
        path = whole_path("data.path", source.path)
        drawn = source.drawn_by or (source.path if path != source.path else None)
        sources.append(source.model_copy(update={"path": path, "drawn_by": drawn}))
    return _with(data, "path", "data.path").model_copy(update={"sources": sources})


def _evaluation(evaluation: Evaluation) -> Evaluation:
    found = _with(evaluation, "path", "evaluation.path")
    return _with(found, "apibank", "evaluation.apibank")


def _with(section: Any, name: str, key: str) -> Any:
    value = getattr(section, name)
    if value is None:
        return section
    several = isinstance(value, list)
    whole = [whole_path(key, each) for each in value] if several else whole_path(key, value)
    return section.model_copy(update={name: whole})


def whole_path(key: str, value: str) -> str:
    """A value of one of `PATHS`, whole where it is a path.

    What can be a name as well (`embedded`, `ddp`, `owner/name`) is a path where there is such a
    file or folder.
    """
    if not value:
        return value
    path, colon, function = value, "", ""
    if key == "reward.function":
        path, colon, function = value.rpartition(":")
    if key == "environment.source":
        if "://" in value or ".py" not in value:
            return value
        if not value.endswith(".py"):
            path, colon, function = value.rpartition(":")
    if key == "engine.sharding" and not path.endswith((".yaml", ".yml", ".json")):
        return value
    if key == "policy" and path == "embedded":
        return value
    can_be_name = key in _NAMES and _NAME.fullmatch(path) is not None
    found = _expanded(path)
    if not path or found is None or (can_be_name and not found.exists()):
        return value
    return f"{found.absolute()}{colon}{function}"


def _expanded(path: str) -> Path | None:
    try:
        return user_path(path, path)
    except InputError:  # said where the path is used
        return None
