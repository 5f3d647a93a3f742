"""Loads a policy's configuration and weights by transformers, from safetensors only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError
from toolrest.policy.adapters import has_adapters, merge_adapters, read_adapters
from toolrest.policy.finite import check_finite
from toolrest.policy.folder import not_loaded, policy_folder, whole_folder
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

_FSDP_LOADING = "FSDP_CPU_RAM_EFFICIENT_LOADING"
"""Variable by which accelerate's launcher tells transformers to load weights in one process."""
_SAMPLING = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_p"),
    *("top_k", "min_p", "repetition_penalty"),
)


def load_generation_config(recipe: Recipe, folder: Path | None = None) -> GenerationConfig | None:
    """The policy's generation configuration, which names tokens that end a turn; None without one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's.

    Raises:
        InputError: there is one, and it cannot be read.
    """
    from transformers import GenerationConfig

    path = whole_folder(policy_folder(recipe, folder), recipe)
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
    recipe: Recipe,
    folder: Path | None = None,
    *,
    dtype: str = "float32",
    trained: bool = False,
    parted: bool = False,
) -> PreTrainedModel:
    """The policy as a model, on the GPU if there is one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's. One of adapters is
            merged into the policy that they were trained on.
        dtype: of the weights; adapters are merged in float32 before.
        trained: whether it is loaded for training, where `lora.base_precision` counts; a checkpoint
            of adapters is not.
        parted: for training in which no process holds the whole policy. With FSDP one process of
            each machine has the weights, on the CPU, and the others their shapes alone; with ZeRO-3
            each has its part, once DeepSpeed's settings are made. Not for a folder of adapters.

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
        if parted and _gets_weights_later():
            return _without_weights(recipe, given, config)
        with nullcontext() if parted else _whole():
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
        check_finite(model, given, whole=not parted)
        _keep_sampling(model)
        if quantised or parted:
            return model  # bitsandbytes has put it where it is computed, or its trainer will
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


def _gets_weights_later() -> bool:
    """Whether FSDP brings this process its weights, from the process that loads them."""
    from torch.distributed.distributed_c10d import get_node_local_rank
    from transformers.integrations.fsdp import is_fsdp_enabled

    return is_fsdp_enabled() and get_node_local_rank(fallback_rank=0) > 0


@contextmanager
def _whole() -> Iterator[None]:
    """In the `with` block transformers gives each process all weights, whatever it was told for
    training: by accelerate's launcher (FSDP) or by DeepSpeed's settings (ZeRO-3).
    """
    from transformers.integrations import deepspeed

    told = os.environ.get(_FSDP_LOADING)
    settings = deepspeed._hf_deepspeed_config_weak_ref
    os.environ[_FSDP_LOADING] = "false"
    deepspeed._hf_deepspeed_config_weak_ref = None
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = settings
        del os.environ[_FSDP_LOADING]
        if told is not None:
            os.environ[_FSDP_LOADING] = told


def policy_outline(recipe: Recipe, config: PretrainedConfig | None = None) -> PreTrainedModel:
    """The policy's modules without their numbers, on `meta`.

    Args:
        config: the policy's, where it is at hand.

    Raises:
        InputError: its configuration cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = config or load_config(recipe)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                config, trust_remote_code=recipe.trust_remote_code
            )
    except Exception as error:  # what broken files end in has no common class
        raise not_loaded(recipe, "policy", error) from error


def _without_weights(recipe: Recipe, given: Path, config: PretrainedConfig) -> PreTrainedModel:
    """The policy with weights that nothing has written, and buffers, which no checkpoint has.

    Unwritten weights take addresses and no memory. On `meta` all have the address 0, by which
    accelerate would give the optimiser one parameter in place of all.
    """
    import torch

    kind: Any = type(policy_outline(recipe, config))
    model = kind.from_pretrained(
        None,  # no folder: no weight is read
        config=config,
        state_dict={},
        dtype=torch.float32,
        trust_remote_code=recipe.trust_remote_code,
    )
    for name, weight in list(model.named_parameters()):
        if weight.is_meta:
            module = model.get_submodule(name.rpartition(".")[0])
            unwritten = torch.nn.Parameter(torch.empty_like(weight, device="cpu"))
            module.register_parameter(name.rpartition(".")[2], unwritten)
    model.tie_weights()
    # TRL loads the policy that a KL term is measured from by its name
    model.name_or_path = model.config.name_or_path = str(whole_folder(given, recipe))
    own = load_generation_config(recipe, given)
    if own is not None:
        model.generation_config = own
    _keep_sampling(model)
    return model


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
