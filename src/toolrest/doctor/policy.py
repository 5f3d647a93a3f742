"""The policy's files and tokenizer, and whether they fit the recipe's dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from toolrest.dialects import detect_dialect
from toolrest.doctor.check import Check, Status
from toolrest.doctor.hub import is_cached, why_unreachable
from toolrest.errors import InputError
from toolrest.mixture import recipe_rendering
from toolrest.policy import has_adapters, load_tokenizer, policy_path
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
