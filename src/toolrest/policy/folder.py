"""Finds a policy's files: in a folder, in the hub's cache, or as the base of adapters."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from toolrest.errors import InputError, short
from toolrest.io.foreign import user_path
from toolrest.io.hub import is_cached
from toolrest.io.redaction import first_line
from toolrest.policy.adapters import adapter_values, has_adapters
from toolrest.policy.safe_folder import check_policy_folder
from toolrest.recipe import EMBEDDED, Recipe

_FETCHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""Files that are downloaded from the hub; `*.py` too if the policy's code is trusted."""
_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
"""A name that the hub can have."""
_SHOWN = 6
"""Folders that a message names at most."""
_OF_A_RUN = ("warm_start", "base")
"""Folders of a run that can hold the base of its adapters."""


def policy_path(recipe: Recipe) -> str:
    """The recipe's policy as a folder or a hub name.

    Raises:
        InputError: the policy looks like a folder and is not one with a checkpoint, or is no name
            that the hub could know.
    """
    if recipe.policy == EMBEDDED:
        return str(files("toolrest.world") / _embedded(recipe))
    path = user_path(recipe.policy, f"policy={recipe.policy}")
    if path.is_dir():
        _check_complete(recipe, path)
        return str(path)
    if path.exists():
        raise InputError(
            f"policy={recipe.policy}: a file; there is no such folder. Give the folder that "
            "config.json and the weights lie in"
        )
    if is_mistyped_path(recipe.policy):
        raise InputError(
            f"policy={recipe.policy}: there is no such folder{_what_is_there(recipe.policy)}"
            f"{_how_from_hub(recipe.policy)}"
        )
    return recipe.policy


def _embedded(recipe: Recipe) -> str:
    """The folder of the embedded policy that was taught the recipe's tasks."""
    if recipe.environment.source == "world":
        return "chain_policy"
    return "thought_policy" if recipe.data.world.tasks == "thoughts" else "policy"


def is_mistyped_path(name: str) -> bool:
    """Whether a name of nothing here is meant as a path: the hub is not asked for it.

    A name such as `runs/x` is one where the first folder is here with policies or runs in it, and
    the hub's cache does not have the policy; one that the hub cannot know is one too.
    """
    if name.startswith((".", "/", "~")) or _HUB.fullmatch(name) is None:
        return True
    owner, slash, _ = name.partition("/")
    return bool(slash) and (owner == "runs" or _holds_policies(owner)) and not is_cached(name)


def _holds_policies(folder: str) -> bool:
    """Whether policies, adapters or runs lie in a folder here."""
    files = ("config.json", "adapter_config.json", "recipe.yaml")
    return any(True for name in files for _ in Path(folder).glob(f"*/{name}"))


def _how_from_hub(name: str) -> str:
    """How a policy of the hub is had whose name looks like a path here."""
    owner = name.partition("/")[0]
    if owner == "runs" or _HUB.fullmatch(name) is None or "/" not in name:
        return ""
    return f"; if the hub's is meant, fetch it first: hf download {name}"


def _what_is_there(name: str) -> str:
    """What the nearest folder that is there holds, by name, and the nearest to what was given."""
    above = user_path(name, name).parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or above == Path():
        return "; give a folder with a checkpoint, or a name on the hub, such as Qwen/Qwen3-0.6B"
    try:
        names = sorted(each.name for each in above.iterdir() if each.is_dir())
    except OSError:
        return f" ({above} cannot be read)"
    here = [each for each in names if not each.startswith(".")]
    if not here:
        return f"; {above} has no folders"
    near = get_close_matches(Path(name).name, here, n=1)
    hint = f"did you mean {above / near[0]}? " if near else ""
    more = ", .." if len(here) > _SHOWN else ""
    return f"; {hint}{above} has: {', '.join(here[:_SHOWN])}{more}"


def _check_complete(recipe: Recipe, path: Path) -> None:
    """Refuse a folder that lacks a policy's files.

    Raises:
        InputError: naming what is missing.
    """
    if not (path / "config.json").is_file() and not has_adapters(path):
        _refuse_run(recipe, path)
        inner = sorted((each.parent for each in path.glob("*/config.json")), key=_step)
        mend = f"; take policy={inner[-1]}" if inner else "; copy the whole folder"
        raise InputError(
            f"policy={recipe.policy}: not a checkpoint folder (it has no config.json){mend}"
        )
    if not any(path.glob("*.safetensors")):
        raise InputError(f"policy={recipe.policy}: the folder has no .safetensors weights")
    if not (path / "tokenizer_config.json").is_file() and not has_adapters(path):
        raise InputError(
            f"policy={recipe.policy}: the folder has no tokenizer (tokenizer_config.json)"
        )


def _refuse_run(recipe: Recipe, path: Path) -> None:
    """Refuse a run's folder as a policy, and name the checkpoint to take instead.

    Raises:
        InputError: the path is a run's folder.
    """
    if not (path / "recipe.yaml").is_file():
        return
    steps = [folder for folder in path.glob("checkpoints/checkpoint-*") if _step(folder) >= 0]
    folders = [path / "warm_start", *sorted(steps, key=_step)]
    usable = [each for each in folders if (each / "config.json").is_file() or has_adapters(each)]
    mend = f"take policy={usable[-1]}" if usable else "which has no checkpoint yet"
    raise InputError(f"policy={recipe.policy}: the folder of a run; {mend}")


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def policy_folder(recipe: Recipe, folder: Path | None = None) -> Path:
    """The checked folder of the policy; one on the hub is downloaded first.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's.

    Raises:
        InputError: see `policy_path` and `check_policy_folder`; the hub does not have it.
    """
    path = policy_path(recipe) if folder is None else str(folder)
    found = Path(path)
    from_hub = not found.is_dir()
    if from_hub:
        found = _fetched(recipe, path)
    check_policy_folder(found, trusted=recipe.trust_remote_code, from_hub=from_hub)
    return found


def _fetched(recipe: Recipe, name: str) -> Path:
    """Download a policy into the hub's cache, without pickles; return its folder."""
    from huggingface_hub import snapshot_download

    code = ("*.py",) if recipe.trust_remote_code else ()
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=[*_FETCHED, *code],
                ignore_patterns=["*/*", "consolidated*"],
            )
        )
    except Exception as error:  # the hub's, the network's and the cache's have no common class
        raise not_loaded(recipe, "policy", error) from error


def kept_policy(name: str, where: object) -> Path:
    """The folder of a policy that a file names: a local one, or one in the hub's cache.

    Nothing is fetched on the word of a file.

    Args:
        where: the file, named in errors.

    Raises:
        InputError: there is none.
    """
    from huggingface_hub import snapshot_download

    if (folder := user_path(name, f"{where}: policy {name}")).is_dir():
        return folder
    try:
        found = Path(snapshot_download(name, local_files_only=True))
    except Exception as error:  # of a name that is none, and of a cache without it
        raise InputError(
            f"{where}: it names the policy {short(name)}, which is neither a folder here nor in "
            "the hub's cache; if you trust the name, fetch it with `hf download NAME`"
        ) from error
    return found


def kept_recipe(recipe: Recipe, where: Path) -> Recipe:
    """A run's recipe with its policy as a folder on this machine; see `kept_policy`."""
    if recipe.policy == EMBEDDED:
        return recipe
    folder = str(kept_policy(recipe.policy, where))
    return recipe.model_copy(update={"policy": folder})


def adapted_policy(recipe: Recipe, loaded: str) -> str:
    """The base that adapters name in their file: the hub's name if the recipe has one, else the
    absolute path.

    Args:
        loaded: where the policy's weights were read from.
    """
    name = policy_path(recipe)
    of_the_hub = not Path(name).is_dir() and Path(loaded).name not in _OF_A_RUN
    return name if of_the_hub else str(Path(loaded).absolute())


def whole_policy(path: str) -> str:
    """The path itself, or the base of its adapters if it holds adapters.

    Raises:
        InputError: the adapters name none.
    """
    folder = Path(path)
    if not has_adapters(folder):
        return path
    base = adapter_values(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(
            f"{folder}: adapter_config.json cannot be read (base_model_name_or_path is no name)"
        )
    beside = folder.parent.parent / Path(base).name
    moved = beside.name in _OF_A_RUN and beside.is_dir()
    return str(beside) if moved else base


def whole_folder(folder: Path, recipe: Recipe) -> Path:
    """The folder itself, or the checked folder of its adapters' base."""
    if not has_adapters(folder):
        return folder
    base = kept_policy(whole_policy(str(folder)), folder / "adapter_config.json")
    if has_adapters(base):
        raise InputError(f"{folder}: adapters of adapters ({base}); merge those first")
    if not (base / "config.json").is_file():
        raise InputError(f"{folder}: its adapters were trained on {base}, which holds no policy")
    check_policy_folder(base, trusted=recipe.trust_remote_code, from_hub="snapshots" in base.parts)
    return base


def not_loaded(recipe: Recipe, what: str, error: Exception) -> InputError:
    """The error for a part of the policy that a library failed to load."""
    return InputError(f"policy={recipe.policy}: the {what} cannot be loaded ({first_line(error)})")
