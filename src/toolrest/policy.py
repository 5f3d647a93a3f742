"""The policy that a recipe names: its folder, tokenizer and weights."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError
from toolrest.recipe import EMBEDDED, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOADING_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError)


def policy_path(recipe: Recipe) -> str:
    """A folder or a hub name that transformers can load.

    Raises:
        InputError: the policy looks like a folder and is not one with a checkpoint.
    """
    if recipe.policy == EMBEDDED:
        return str(files("toolrest.world") / "policy")
    path = Path(recipe.policy).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(
                f"policy={recipe.policy}: not a checkpoint folder (it has no config.json)"
            )
        if not any(path.glob("*.safetensors")):
            raise InputError(f"policy={recipe.policy}: the folder has no .safetensors weights")
        if not (path / "tokenizer_config.json").is_file():
            raise InputError(
                f"policy={recipe.policy}: the folder has no tokenizer (tokenizer_config.json)"
            )
        return str(path)
    looks_local = recipe.policy.startswith((".", "/", "~")) or recipe.policy.count("/") > 1
    if path.exists() or looks_local:
        raise InputError(f"policy={recipe.policy}: there is no such folder")
    return recipe.policy


def load_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left, with a padding token.

    Raises:
        InputError: it cannot be loaded, its bytes cannot be read, or it has no chat template.
    """
    from transformers import AutoTokenizer

    from toolrest.vocabulary import Vocabulary

    path = policy_path(recipe)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, padding_side="left", trust_remote_code=recipe.trust_remote_code
        )
    except _LOADING_ERRORS as error:
        raise _not_loaded(recipe, "tokenizer", error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    Vocabulary.from_tokenizer(tokenizer)
    if tokenizer.chat_template is None:
        raise InputError(
            f"policy={recipe.policy}: the tokenizer has no chat template, so prompts cannot be "
            "written; use an instruction-tuned policy, or add a chat_template to the tokenizer"
        )
    return tokenizer


def load_policy(recipe: Recipe, folder: Path | None = None) -> PreTrainedModel:
    """The policy's weights, float32, from safetensors only; on the GPU where there is one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's.

    Raises:
        InputError: they cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            policy_path(recipe) if folder is None else str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=recipe.trust_remote_code,
        )
        return cast(Any, model).to("cuda") if torch.cuda.is_available() else model
    except (*_LOADING_ERRORS, SafetensorError) as error:
        raise _not_loaded(recipe, "policy", error) from error


def _not_loaded(recipe: Recipe, what: str, error: Exception) -> InputError:
    text = str(error).strip() or type(error).__name__
    reason = text.splitlines()[0]
    return InputError(f"policy={recipe.policy}: the {what} cannot be loaded ({reason})")
