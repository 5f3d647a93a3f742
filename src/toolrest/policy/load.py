"""The policy that a recipe names: its folder, tokenizer and weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.errors import InputError, short
from toolrest.io.deadline import TEMPLATE_SECONDS, ends_within
from toolrest.io.files import read_json
from toolrest.io.foreign import user_path
from toolrest.io.redaction import first_line
from toolrest.policy.adapters import adapter_values, has_adapters, merge_adapters, read_adapters
from toolrest.policy.files import check_policy_folder, is_finite, not_finite
from toolrest.recipe import EMBEDDED, Recipe

if TYPE_CHECKING:
    from transformers import (
        GenerationConfig,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

_FETCHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
"""What is taken from the hub of a policy; with its own code, `*.py` too."""

_SAMPLING = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "do_sample", "temperature", "top_p"),
    *("top_k", "min_p", "repetition_penalty"),
)

_MISTRAL = "fix_mistral_regex"
"""Which of two expressions splits words of some of Mistral's tokenizers; a file may say."""
_OF_A_RUN = ("warm_start", "base")
"""Folders of a run that hold what its adapters were trained on"""
_ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}
_ANSWERED: list[dict[str, Any]] = [
    {"role": "system", "content": "Help."},
    *_ASKED,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "function": {"name": "find", "arguments": {"word": "a"}}}
        ],
    },
    {"role": "tool", "name": "find", "content": "b"},
]
_WORDS: tuple[tuple[list[dict[str, Any]], list[Any] | None], ...] = (
    *((_ASKED, None), (_ASKED, [_TOOL]), (_ANSWERED, [_TOOL])),
    *(([*_ANSWERED, {"role": "assistant", "content": "c"}], None), (_ANSWERED[:2], [_TOOL])),
)
"""Conversations of each kind, with the tools, that a chat template is tried with."""


def policy_path(recipe: Recipe) -> str:
    """A folder or a hub name that transformers can load.

    Raises:
        InputError: the policy looks like a folder and is not one with a checkpoint.
    """
    if recipe.policy == EMBEDDED:
        return str(files("toolrest.world") / "policy")
    path = user_path(recipe.policy, f"policy={recipe.policy}")
    if path.is_dir():
        if not (path / "config.json").is_file() and not has_adapters(path):
            _refuse_run(recipe, path)
            raise InputError(
                f"policy={recipe.policy}: not a checkpoint folder (it has no config.json)"
            )
        if not any(path.glob("*.safetensors")):
            raise InputError(f"policy={recipe.policy}: the folder has no .safetensors weights")
        if not (path / "tokenizer_config.json").is_file() and not has_adapters(path):
            raise InputError(
                f"policy={recipe.policy}: the folder has no tokenizer (tokenizer_config.json)"
            )
        return str(path)
    looks_local = recipe.policy.startswith((".", "/", "~")) or recipe.policy.count("/") > 1
    if path.exists() or looks_local:
        raise InputError(f"policy={recipe.policy}: there is no such folder")
    return recipe.policy


def _refuse_run(recipe: Recipe, path: Path) -> None:
    """Name the folder of a run that holds its policy.

    Raises:
        InputError: the path is a run's folder.
    """
    if not (path / "recipe.yaml").is_file():
        return
    steps = [folder for folder in path.glob("checkpoints/checkpoint-*") if _step(folder) >= 0]
    folders = [path / "warm_start", *sorted(steps, key=_step)]
    held = [each for each in folders if (each / "config.json").is_file() or has_adapters(each)]
    mend = f"take policy={held[-1]}" if held else "which has no checkpoint yet"
    raise InputError(f"policy={recipe.policy}: the folder of a run; {mend}")


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def policy_folder(recipe: Recipe, folder: Path | None = None) -> Path:
    """The folder that a policy is read from, looked at; one on the hub is fetched first.

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
    """The hub's policy in the hub's cache, its pickles left where they are."""
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
        raise _not_loaded(recipe, "policy", error) from error


def kept_policy(name: str, where: object) -> Path:
    """The folder of a policy that a file names: one that is there, or in the hub's cache.

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
    """A recipe of a run's folder, its policy one that is on this machine; see `kept_policy`."""
    if recipe.policy == EMBEDDED:
        return recipe
    folder = str(kept_policy(recipe.policy, where))
    return recipe.model_copy(update={"policy": folder})


def load_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left, with a padding token.

    Raises:
        InputError: it cannot be loaded, its bytes cannot be read, or it has no chat template.
    """
    from transformers import AutoTokenizer

    from toolrest.core.vocabulary import Vocabulary

    path = policy_folder(recipe)
    if not (path / "tokenizer_config.json").is_file():  # adapters that peft wrote alone
        path = whole_folder(path, recipe)
    file = path / "tokenizer_config.json"
    said = read_json(file).get(_MISTRAL) if file.is_file() else None
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path,
            padding_side="left",
            # Named at all, it keeps transformers from Mistral's own package (which vLLM brings) and
            # tekken.json: a tokenizer whose bytes cannot be read.
            **{_MISTRAL: said},
            trust_remote_code=recipe.trust_remote_code,
            local_files_only=not recipe.trust_remote_code,
        )
        if said is None:
            tokenizer.init_kwargs.pop(_MISTRAL, None)  # nor is it saved
        ends = Vocabulary.from_tokenizer(tokenizer).end_ids
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
    _check_template(tokenizer, recipe)
    if tokenizer.pad_token is None:  # any token will do, for what is padded is masked
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(
            min(ends, default=0)
        )
    return tokenizer


def _check_template(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> None:
    """Have the chat template write a few words, in a process of their own, for a comparison or a
    power may be without end too; what it refuses is told where a prompt is written.
    """

    def write() -> None:
        for messages, tools in _WORDS:
            for opened in (True, False):
                with suppress(Exception):
                    tokenizer.apply_chat_template(
                        messages,
                        tools=cast(Any, tools),
                        add_generation_prompt=opened,
                        tokenize=False,
                    )

    if not ends_within(TEMPLATE_SECONDS, write):
        raise InputError(
            f"policy={recipe.policy}: its chat template takes over {TEMPLATE_SECONDS:.0f} s for "
            "a few words, or more memory than there is; use another template"
        )


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
        raise _not_loaded(recipe, "generation configuration", error) from error


def load_config(recipe: Recipe, folder: Path | None = None) -> PretrainedConfig:
    """The policy's configuration, how it is computed left to us: PyTorch's attention unless the
    file asks for the plain one, and no kernels from elsewhere.

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
        raise _not_loaded(recipe, "config", error) from error


def leave_router(config: PretrainedConfig) -> None:
    """Have no forward compute the loss of a mixture's router unless it asks for it: supervised
    trainers leave that in a configuration, and sampling with a cache then fails on shapes.
    """
    text = config.get_text_config()
    if hasattr(text, "output_router_logits"):
        text.output_router_logits = False


def load_policy(
    recipe: Recipe, folder: Path | None = None, *, dtype: str = "float32"
) -> PreTrainedModel:
    """The policy's weights, from safetensors only; on the GPU where there is one.

    Args:
        folder: a checkpoint of the policy to take instead of the recipe's. One of adapters is
            merged into the policy that they were trained on.
        dtype: of the weights; adapters are merged in float32 before.

    Raises:
        InputError: they cannot be loaded, some are missing, or one has a number that is not
            finite.
    """
    import torch
    from transformers import AutoModelForCausalLM

    given = policy_folder(recipe, folder)
    adapters = read_adapters(given) if has_adapters(given) else None
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
        )
        if lost := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(lost)} of its weights are missing, such as {lost[0]}")
        if adapters is not None:
            merge_adapters(model, adapters)
            model = model.to(getattr(torch, dtype))
        check_finite(model, given)
        _keep_sampling(model)
        return cast(Any, model).to("cuda") if torch.cuda.is_available() else model
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what broken files end in has no common class
        raise _not_loaded(recipe, "policy", error) from error


def _keep_sampling(model: Any) -> None:
    """Of a generation configuration only tokens and the numbers of sampling stay, for whoever
    serves the checkpoint; how responses are searched for is not the file's to say.

    Numbers of sampling without `do_sample` are meant, as servers take them; with `do_sample=false`
    they are not. Neither, nor numbers that are none to sample with, could be saved.
    """
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    if own is None:
        return
    known = {name: getattr(own, name, None) for name in _SAMPLING}
    said = {name: value for name, value in known.items() if value is not None}
    tokens = {name: value for name, value in said.items() if name.endswith("_token_id")}
    if said.keys() - tokens.keys() - {"repetition_penalty"}:
        said.setdefault("do_sample", True)
    if not said.get("do_sample"):
        said = tokens | {name: said[name] for name in ("repetition_penalty",) if name in said}
    try:
        model.generation_config = GenerationConfig(**said)
        model.generation_config.validate(strict=True)
    except ValueError:
        model.generation_config = GenerationConfig(**tokens)


def check_finite(model: Any, place: object) -> None:
    """Refuse a policy with NaN or infinity in a weight, or that computes them from finite ones.

    Args:
        place: where it is from, named in errors.

    Raises:
        InputError: naming the tensor.
    """
    import torch

    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if not is_finite(value):
            raise InputError(not_finite(place, name))
    with torch.no_grad():
        logits = model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device)).logits
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"{place}: the policy computes numbers that are not finite (NaN or infinity) from "
            "weights that are; look at its config.json"
        )


def adapted_policy(recipe: Recipe, loaded: str) -> str:
    """What adapters say that they were trained on, for whoever reads them from any folder or
    machine: the hub's name where the recipe has one, else the whole path.

    Args:
        loaded: where the policy's weights were read from.
    """
    name = policy_path(recipe)
    of_the_hub = not Path(name).is_dir() and Path(loaded).name not in _OF_A_RUN
    return name if of_the_hub else str(Path(loaded).absolute())


def whole_policy(path: str) -> str:
    """The path itself, or that of the policy that a folder's adapters were trained on.

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
    """The folder itself, or that of the policy that its adapters were trained on, looked at."""
    if not has_adapters(folder):
        return folder
    base = kept_policy(whole_policy(str(folder)), folder / "adapter_config.json")
    if has_adapters(base):
        raise InputError(f"{folder}: adapters of adapters ({base}); merge those first")
    if not (base / "config.json").is_file():
        raise InputError(f"{folder}: its adapters were trained on {base}, which holds no policy")
    check_policy_folder(base, trusted=recipe.trust_remote_code, from_hub="snapshots" in base.parts)
    return base


def require_peft() -> None:
    """Say how adapters are had.

    Raises:
        InputError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise InputError("low-rank adapters need peft: pip install 'toolrest[lora]'")


def _not_loaded(recipe: Recipe, what: str, error: Exception) -> InputError:
    return InputError(f"policy={recipe.policy}: the {what} cannot be loaded ({first_line(error)})")
