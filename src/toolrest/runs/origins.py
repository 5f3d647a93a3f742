"""Where a run's numbers come from besides its recipe: data, policy and reward, by their bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.data.sample import Sample
from toolrest.data.sources import Source, answers_beside
from toolrest.environments.source import environment_file
from toolrest.io.files import read_json, sha256_of
from toolrest.io.foreign import user_path
from toolrest.policy.folder import policy_path, whole_policy
from toolrest.recipe import RESUMABLE, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECIPE = "the recipe"
ROWS = "the rows"
TEMPLATE = "the chat template"
UNKNOWN = "not known"
"""Of something on the hub whose commit cannot be had, or of a server's."""
_NEVER_LOADED = (".pt", ".pth", ".bin", ".msgpack", ".h5", ".onnx", ".gguf", ".md", ".log")
_STATE = frozenset({"trainer_state.json", "toolrest_state.json"})
"""Of the trainer, which no policy is loaded from."""
_TEMPLATES = "additional_chat_templates"
_SECONDS = 10.0
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def origins(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: str) -> dict[str, str]:
    """The hash of everything that a run reads its numbers from, by what a user calls it.

    A hub's data set or policy has its commit in place of a hash, or `UNKNOWN`.

    Args:
        rows: `rows_hash` of those that are trained on and held out, as they were read.
    """
    template = json.dumps(tokenizer.chat_template, sort_keys=True)
    return (
        file_origins(recipe)
        | {RECIPE: recipe_hash(recipe)}
        | {TEMPLATE: hashlib.sha256(template.encode("utf-8", "replace")).hexdigest()}
        | {ROWS: rows}
    )


def file_origins(recipe: Recipe) -> dict[str, str]:
    """The part of `origins` that files and commits tell."""
    found = data_origins([*recipe.sources, *recipe.evaluation_sources])
    found |= {f"policy {recipe.policy}: {name}": value for name, value in _policy(recipe).items()}
    for named in recipe.reward.functions:
        file = user_path(named.rpartition(":")[0], "reward.function")
        if file.is_file():
            found[f"reward {named}"] = sha256_of(file)
    source = recipe.environment.source
    if source is not None and (file := environment_file(source)) is not None:
        found[f"environment {source}"] = sha256_of(file)
    return found


def data_origins(sources: Iterable[Source]) -> dict[str, str]:
    """The part of `origins` that files and data sets of rows tell, by `data PATH`."""
    found: dict[str, str] = {}
    for source in sources:
        found |= _data(source.path)
    return found


def recipe_hash(recipe: Recipe) -> str:
    """Of what it asks for: not how that is computed, nor defaults, to which newer versions add."""
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_defaults=True)
    for key in (*RESUMABLE, "name", "trust_remote_code"):
        section, _, name = key.rpartition(".")
        inside = values
        for part in section.split(".") if section else ():
            inside = inside.get(part, {})
        inside.pop(name, None)
    told = {key: value for key, value in values.items() if value != {}}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def rows_hash(rows: Iterable[Sample]) -> str:
    """Of what the rows say, whatever file they came from: other wording is other rows."""
    found, write = hashlib.sha256(), json.JSONEncoder(sort_keys=True, default=str).encode
    for row in rows:
        # what single responses, or episodes, had not before is not told where it is not there
        absent = {"columns": row.columns is None, "truths": not row.truths}
        told = {key: value for key, value in vars(row).items() if not absent.get(key)}
        found.update(write(told).encode() + b"\n")
    return found.hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has changed, a few words each. What was not known then, or is not now, is not among it,
    and neither are rows whose file is.
    """
    said = []
    for name in sorted(before.keys() | now.keys() - {ROWS}):
        old, new = before.get(name), now.get(name)
        kept = name != RECIPE or old is not None
        if kept and name != ROWS and old != new and UNKNOWN not in (old, new):
            what = "is new" if old is None else "is gone" if new is None else "has changed"
            said.append(f"{name} {what}")
    if not said and ROWS in before and before[ROWS] != now.get(ROWS, before[ROWS]):
        said.append(f"{ROWS} have changed, as toolrest reads and words them")
    return said


def policy_fingerprint(recipe: Recipe) -> str:
    """Tells one policy from another by every byte that is loaded of it: weights, configuration,
    tokenizer, templates; of adapters those of the policy that they were trained on too.

    A hub's policy has its commit in place of that, or `UNKNOWN`.
    """
    return _one(_policy(recipe))


def fingerprint(folder: Path) -> str:
    """`policy_fingerprint` of a folder."""
    return _one(_folder(folder))


def _one(parts: dict[str, str]) -> str:
    if len(parts) == 1 and "commit" in parts:
        return parts["commit"]
    if UNKNOWN in parts.values():
        return UNKNOWN
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _policy(recipe: Recipe) -> dict[str, str]:
    path = policy_path(recipe)
    if not Path(path).is_dir():
        return {"commit": _cached_commit(path)}
    return _folder(Path(path))


def _folder(folder: Path) -> dict[str, str]:
    """The hash of each file that loading a policy may read, by its path in the folder."""
    found = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if _is_loaded(path)}
    for path in sorted((folder / _TEMPLATES).glob("*.jinja")):
        if path.is_file():
            found[f"{_TEMPLATES}/{path.name}"] = sha256_of(path)
    for name in _named_weights(folder) - found.keys():
        if (folder / name).is_file():
            found[name] = sha256_of(folder / name)
    whole = whole_policy(str(folder))
    if whole != str(folder):
        base = user_path(whole, f"{folder}: policy {whole}")
        parts = _folder(base) if base.is_dir() else {"commit": _cached_commit(whole)}
        found |= {f"base {name}": value for name, value in parts.items()}
    return found


def _is_loaded(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.name in _STATE
    return not hidden and path.suffix not in _NEVER_LOADED and path.is_file()


def _named_weights(folder: Path) -> set[str]:
    """Files of weights that the index names, some of which may lie in folders below."""
    try:
        index = read_json(folder / "model.safetensors.index.json")
        return {str(name) for name in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _cached_commit(name: str) -> str:
    """The commit of a hub's policy that this machine's cache has, which is what was loaded last."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json", "tokenizer_config.json"):
        try:
            found = try_to_load_from_cache(name, file)
        except (ValueError, OSError):  # no name of the hub
            return UNKNOWN
        if isinstance(found, str):
            return Path(found).parent.name
    return UNKNOWN


def _data(path: str) -> dict[str, str]:
    file = user_path(path, f"data {path}")
    if not file.is_file():
        named = _HUB.fullmatch(path) is not None and not file.exists()
        return {f"data {path}": _data_commit(path)} if named else {}
    found = {f"data {path}": sha256_of(file)}
    if (beside := answers_beside(path)) is not None:
        found[f"data {beside}"] = sha256_of(beside)
    return found


def _data_commit(name: str) -> str:
    """The commit of a hub's data set."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, timeout=_SECONDS).sha or UNKNOWN
    except Exception:  # the hub's and its transport's errors have no common class
        return UNKNOWN


def read_origins(path: Path) -> dict[str, str]:
    """The hashes in a run's data.json; none of a run that has not kept them."""
    try:
        found = read_json(path)["origins"]
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def accepted_changes(path: Path) -> list[dict[str, Any]]:
    """The changes that a run was resumed with, by its data.json."""
    try:
        found = read_json(path)["changed"]
        return [{**each, "what": list(map(str, each["what"]))} for each in found]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def changed_files(recipe: Recipe, before: Mapping[str, str]) -> list[str]:
    """Which of the policy's files have changed since, its weights left out."""
    folder, start = Path(policy_path(recipe)), f"policy {recipe.policy}: "
    return [
        f"{name} has changed"
        for name, value in before.items()
        if name.startswith(start)
        and not name.endswith(".safetensors")
        and (file := folder / name.removeprefix(start)).is_file()
        and sha256_of(file) != value
    ]
