"""The policy that a recipe names: its folder, tokenizer and weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError
from toolrest.recipe import EMBEDDED, Recipe
from toolrest.redaction import first_line

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def policy_path(recipe: Recipe) -> str:
    """A folder or a hub name that transformers can load.

    Raises:
        InputError: the policy looks like a folder and is not one with a checkpoint.
    """
    if recipe.policy == EMBEDDED:
        return str(files("toolrest.world") / "policy")
    path = Path(recipe.policy).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file() and not has_adapters(path):
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
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        Vocabulary.from_tokenizer(tokenizer)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what broken files end in has no common class
        raise _not_loaded(recipe, "tokenizer", error) from error
    if tokenizer.chat_template is None:
        raise InputError(
            f"policy={recipe.policy}: the tokenizer has no chat template, so prompts cannot be "
            "written; use an instruction-tuned policy, or add a chat_template to the tokenizer"
        )
    _set_options(tokenizer, recipe.data.template_options)
    return tokenizer


def _set_options(tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any]) -> None:
    """Make a recipe's options what the chat template takes where nobody says otherwise.

    Written into the template itself, so that whoever renders a prompt, a server of the trained
    checkpoint included, gets the prompts of training.

    Raises:
        InputError: the template never reads one of them.
    """
    if not options:
        return
    whole = tokenizer.chat_template
    templates = whole if isinstance(whole, dict) else {"default": whole}
    for name in options:
        if not any(re.search(rf"\b{name}\b", str(text)) for text in templates.values()):
            raise InputError(
                f"data.template_options.{name}: the policy's chat template never reads {name}; "
                "leave it out"
            )
    said = "".join(
        f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}"
        for name, value in options.items()
    )
    made = {name: said + str(text) for name, text in templates.items()}
    tokenizer.chat_template = made if isinstance(whole, dict) else made["default"]


def _literal(value: Any) -> str:
    """A plain value as Jinja writes it."""
    return "none" if value is None else json.dumps(value)


def load_generation_config(recipe: Recipe) -> GenerationConfig | None:
    """The policy's generation configuration, which names tokens that end a turn; None without one.

    Raises:
        InputError: there is one, and it cannot be read.
    """
    from transformers import GenerationConfig

    path = whole_policy(policy_path(recipe))
    try:
        return GenerationConfig.from_pretrained(path, trust_remote_code=recipe.trust_remote_code)
    except OSError:
        return None
    except Exception as error:  # what broken files end in has no common class
        raise _not_loaded(recipe, "generation configuration", error) from error


def load_policy(recipe: Recipe, folder: Path | None = None) -> PreTrainedModel:
    """The policy's weights, float32, from safetensors only; on the GPU where there is one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's. One of adapters is
            merged into the policy that they were trained on.

    Raises:
        InputError: they cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    path = policy_path(recipe) if folder is None else str(folder)
    adapters = has_adapters(Path(path))
    refuse_pickled_weights(Path(path))
    try:
        model, loaded = cast(Any, AutoModelForCausalLM).from_pretrained(
            whole_policy(path),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=recipe.trust_remote_code,
            output_loading_info=True,
        )
        if lost := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(lost)} of its weights are missing, such as {lost[0]}")
        if adapters:
            require_peft()
            from peft import PeftModel

            model = cast(Any, PeftModel.from_pretrained(model, path)).merge_and_unload()
        return cast(Any, model).to("cuda") if torch.cuda.is_available() else model
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what broken files end in has no common class
        raise _not_loaded(recipe, "policy", error) from error


def has_adapters(folder: Path) -> bool:
    """Whether the folder has low-rank adapters in place of a whole policy."""
    return (folder / "adapter_config.json").is_file()


def refuse_pickled_weights(folder: Path) -> None:
    """Weights are read from safetensors only.

    Raises:
        InputError: the folder has none, but weights that are pickled.
    """
    if any(folder.glob("*.safetensors")):
        return
    for pattern in ("pytorch_model.bin*", "pytorch_model-*.bin", "adapter_model.bin"):
        for found in folder.glob(pattern):
            raise InputError(f"{found}: pickled weights are not read; save them as safetensors")


def whole_policy(path: str) -> str:
    """The path itself, or that of the policy that a folder's adapters were trained on."""
    folder = Path(path)
    if not has_adapters(folder):
        return path
    try:
        named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = named["base_model_name_or_path"]
        if not isinstance(base, str) or not base:
            raise ValueError("base_model_name_or_path is no name")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder}: adapter_config.json cannot be read ({error})") from error
    warm_start = folder.parent.parent / "warm_start"
    return str(warm_start) if Path(base).name == warm_start.name and warm_start.is_dir() else base


def require_peft() -> None:
    """Say how adapters are had.

    Raises:
        InputError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise InputError("low-rank adapters need peft: pip install 'toolrest[lora]'")


def _not_loaded(recipe: Recipe, what: str, error: Exception) -> InputError:
    return InputError(f"policy={recipe.policy}: the {what} cannot be loaded ({first_line(error)})")
