"""Loads a policy's configuration and weights by transformers, from safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError
from toolrest.policy.adapters import has_adapters, merge_adapters, read_adapters
from toolrest.policy.finite import check_finite
from toolrest.policy.folder import not_loaded, policy_folder, whole_folder
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

_SAMPLING = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_p"),
    *("top_k", "min_p", "repetition_penalty"),
)


def load_generation_config(recipe: Recipe) -> GenerationConfig | None:
    """The policy's generation configuration, which names tokens that end a turn; None without one.

    Raises:
        InputError: there is one, and it cannot be read.
    """
    from transformers import GenerationConfig

    path = whole_folder(policy_folder(recipe), recipe)
    try:
        return GenerationConfig.from_pretrained(
            path,
            trust_remote_code=recipe.trust_remote_code,
            local_files_only=not recipe.trust_remote_code,
        )
    except OSError:
        return None
    except Exception as error:  # what broken files end in has no common class
        raise not_loaded(recipe, "generation configuration", error) from error


def load_config(recipe: Recipe, folder: Path | None = None) -> PretrainedConfig:
    """The policy's configuration, with PyTorch's attention unless the file says `eager`, and no
    kernels from the hub.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoConfig

    whole = whole_folder(policy_folder(recipe, folder), recipe)
    try:
        config = AutoConfig.from_pretrained(
            whole,
            trust_remote_code=recipe.trust_remote_code,
            local_files_only=not recipe.trust_remote_code,
        )
        plain = config._attn_implementation == "eager"
        config._attn_implementation = "eager" if plain else None
        config._experts_implementation = None
        leave_router(config)
        return config
    except MemoryError:
        raise
    except Exception as error:  # what broken files end in has no common class
        raise not_loaded(recipe, "config", error) from error


def leave_router(config: PretrainedConfig) -> None:
    """Switch off the router loss of a mixture of experts in every forward by default.

    Supervised trainers leave it on in the configuration, and sampling with a cache then fails.
    """
    text = config.get_text_config()
    if hasattr(text, "output_router_logits"):
        text.output_router_logits = False


def load_policy(
    recipe: Recipe, folder: Path | None = None, *, dtype: str = "float32", trained: bool = False
) -> PreTrainedModel:
    """The policy as a model, on the GPU if there is one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's. One of adapters is
            merged into the policy that they were trained on.
        dtype: of the weights; adapters are merged in float32 before.
        trained: whether it is loaded for training, where `lora.base_precision` counts; a checkpoint
            of adapters is not.

    Raises:
        InputError: they cannot be loaded, some are missing, or one has a number that is not
            finite.
    """
    import torch
    from transformers import AutoModelForCausalLM

    given = policy_folder(recipe, folder)
    adapters = read_adapters(given) if has_adapters(given) else None
    quantised = trained and adapters is None and recipe.lora.base_precision == "nf4"
    config = load_config(recipe, given)
    try:
        model, loaded = cast(Any, AutoModelForCausalLM).from_pretrained(
            whole_folder(given, recipe),
            config=config,
            dtype=getattr(torch, dtype) if adapters is None else torch.float32,
            use_safetensors=True,
            trust_remote_code=recipe.trust_remote_code,
            local_files_only=not recipe.trust_remote_code,
            output_loading_info=True,
            **({"quantization_config": four_bits(recipe)} if quantised else {}),
        )
        if lost := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(lost)} of its weights are missing, such as {lost[0]}")
        if adapters is not None:
            merge_adapters(model, adapters)
            model = model.to(getattr(torch, dtype))
        check_finite(model, given)
        _keep_sampling(model)
        if quantised:
            return model  # bitsandbytes has put it where it is computed
        return cast(Any, model).to("cuda") if torch.cuda.is_available() else model
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what broken files end in has no common class
        raise not_loaded(recipe, "policy", error) from error


def four_bits(recipe: Recipe) -> Any:
    """How the base of a recipe's adapters is kept in 4 bits (QLoRA, arXiv 2305.14314): nf4, its
    scales quantised too.
    """
    import torch
    from transformers import BitsAndBytesConfig

    whole = recipe.engine.precision == "float32" or not torch.cuda.is_available()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32 if whole else torch.bfloat16,
    )


def _keep_sampling(model: Any) -> None:
    """Replace the model's generation configuration by its `plain_generation`."""
    own = getattr(model, "generation_config", None)
    if own is not None:
        model.generation_config = plain_generation(own)


def plain_generation(own: Any) -> GenerationConfig:
    """Only special tokens and sampling numbers of a generation configuration.

    Servers of the checkpoint read them. Sampling numbers without `do_sample` switch it on; with
    `do_sample=false` they are dropped, and so are invalid ones, since transformers refuses to save
    them.
    """
    from transformers import GenerationConfig

    known = {name: getattr(own, name, None) for name in _SAMPLING}
    said = {name: value for name, value in known.items() if value is not None}
    tokens = {name: value for name, value in said.items() if name.endswith("_token_id")}
    if said.keys() - tokens.keys() - {"repetition_penalty"}:
        said.setdefault("do_sample", True)
    if not said.get("do_sample"):
        said = tokens | {name: said[name] for name in ("repetition_penalty",) if name in said}
    try:
        config = GenerationConfig(**said)
        config.validate(strict=True)
    except ValueError:
        config = GenerationConfig(**tokens)
    return config
