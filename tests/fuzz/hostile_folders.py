"""Draws hostile fields for each JSON file of a policy's folder, and for a run's recipe."""

import json
import os
import pickle
import random
import socket
from pathlib import Path

import yaml

NAMES = (
    *("auto_map", "attn_implementation", "_attn_implementation", "experts_implementation"),
    *("_attn_implementation_internal", "quantization_config", "compression_config"),
    *("kernel_config", "use_kernels", "fusion_config", "distributed_config", "torch_dtype"),
    *("dtype", "_name_or_path", "name_or_path", "transformers_weights", "gguf_file"),
    *("backbone", "use_pretrained_backbone", "use_timm_backbone", "text_config"),
    *("vision_config", "sub_configs", "attribute_map", "to_dict", "model_type", "architectures"),
    *("num_hidden_layers", "vocab_size", "hidden_size", "head_dim", "hidden_act"),
    *("max_position_embeddings", "rope_theta", "rms_norm_eps", "rope_scaling", "layer_types"),
    *("tokenizer_class", "custom_pipelines", "is_encoder_decoder", "tie_word_embeddings"),
    *("base_model_tp_plan", "per_layer_config", "__class__", "extra_files", "eos_token_id"),
)
TOKENIZER = (
    *("auto_map", "tokenizer_class", "tokenizer_file", "vocab_file", "merges_file"),
    *("special_tokens_map_file", "chat_template", "extra_special_tokens", "init_inputs"),
    *("additional_special_tokens", "added_tokens_decoder", "model_max_length", "pad_token"),
    *("eos_token", "name_or_path", "mecab_kwargs", "sp_model_kwargs", "padding_side"),
    *("processor_class", "backend", "is_local", "trust_remote_code", "model_input_names"),
)
GENERATION = (
    *("custom_generate", "assistant_model", "prompt_lookup_num_tokens", "cache_implementation"),
    *("compile_config", "watermarking_config", "num_beams", "penalty_alpha", "dola_layers"),
    *("stop_strings", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens"),
    *("constraints", "temperature", "auto_map", "trust_remote_code", "cache_config"),
)
ADAPTER = (
    *("base_model_name_or_path", "auto_mapping", "megatron_config", "megatron_core", "task_type"),
    *("peft_type", "loftq_config", "init_lora_weights", "corda_config", "eva_config"),
    *("layer_replication", "target_modules", "rank_pattern", "alpha_pattern", "use_dora"),
    *("modules_to_save", "exclude_modules", "layers_to_transform", "layers_pattern", "bias"),
    *("r", "lora_alpha", "use_rslora", "target_parameters", "trainable_token_indices"),
    *("arrow_config", "alora_invocation_tokens", "lora_bias", "runtime_config", "revision"),
)
RECIPE = (
    *("trust_remote_code", "reward.function", "engine.options", "engine.sharding", "policy"),
    *("dialect", "data.path", "data.sources", "lora.target_modules", "weighting.scheme"),
    *("weighting.options", "data.template_options", "name", "report_to", "engine.name"),
    *("rollout.vllm.server", "rollout.sampler", "max_steps", "reward.correctness"),
)
FILES = {
    "config.json": NAMES,
    "tokenizer_config.json": TOKENIZER,
    "generation_config.json": GENERATION,
    "adapter_config.json": ADAPTER,
    "special_tokens_map.json": TOKENIZER,
}
WEIGHTS = (
    "pytorch_model.bin",
    "adapter_model.bin",
    "model.pt",
    "x.ckpt",
    "weights.PKL",
    ".metadata",
)
LINES = "a\nb\x1b[2J\r‮"


def values(outside: Path, rng: random.Random):
    """One hostile value."""
    deep: object = "x"
    for _ in range(rng.choice((3, 60, 600))):
        deep = [deep]
    place = str(outside / "kept.txt")
    return rng.choice(
        (
            *("owner/kernel", "kernels-community/flash-attn", "owner/repo--evil.M", "evil.M"),
            *(["evil.T", None], {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}),
            *({"AutoTokenizer": ["evil.T", "evil.T"]}, "../outside/kept.txt", place, str(outside)),
            *("http://127.0.0.1:9/x", "evil.py:reward", {"quant_method": "bitsandbytes"}, "os"),
            *({"actor.path": "pkg://evil"}, {"": "owner/kernel"}, "subprocess", "AutoModel"),
            *("pipeline", "AutoModelForCausalLM", "RagTokenizer", "(a+)+$", ".*(.*)*(.*)*x", LINES),
            *("attacker/repo", float("nan"), float("inf"), -1, 0, 10**9, 10**30, True, None, ""),
            *([], {}, [1, "a"], [["x"]], {"x": {"attn_implementation": "owner/kernel"}}, deep),
            *({"evil": "M"}, {LINES: LINES}, "encoder-decoder", "musicgen", "rag", "detr", 1e308),
        )
    )


def _is_small(path: Path) -> bool:
    """Whether a file is there that an earlier change has not made something else."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30


def _write(path: Path, found: object) -> None:
    path.write_text(json.dumps(found))


def change_json(folder: Path, outside: Path, rng: random.Random) -> str:
    """One or two fields of a file are others; what was done is said."""
    names = [each for each in FILES if _is_small(folder / each)]
    if not names:
        return "no file is left"
    name = rng.choice(names)
    found = json.loads((folder / name).read_text())
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice((*FILES[name], *found))
        found[key] = values(outside, rng)
        said.append(f"{name}: {key}={str(found[key])[:80]}")
    _write(folder / name, found)
    return "; ".join(said)


def change_recipe(run: Path, outside: Path, rng: random.Random) -> str:
    """One or two keys of the run's recipe are others."""
    if not _is_small(run / "recipe.yaml"):
        return "no recipe"
    text = (run / "recipe.yaml").read_text()
    recipe = json.loads(text) if text.startswith("{") else yaml.safe_load(text)
    said = []
    for _ in range(rng.choice((1, 2))):
        key = rng.choice(RECIPE)
        *parents, last = key.split(".")
        inner = recipe
        for parent in parents:
            if not isinstance(inner.get(parent), dict):
                inner[parent] = {}
            inner = inner[parent]
        inner[last] = values(outside, rng)
        said.append(f"recipe: {key}={str(inner[last])[:80]}")
    (run / "recipe.yaml").write_text(json.dumps(recipe))
    return "; ".join(said)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return (os.makedirs, (self.mark,))


def add_pickle(folder: Path, mark: Path, rng: random.Random) -> str:
    """Pickled weights lie beside the others, or in place of them."""
    name = rng.choice(WEIGHTS)
    (folder / name).write_bytes(pickle.dumps({"a": Bomb(mark)}))
    if rng.random() < 0.5:
        for each in list(folder.glob("*.safetensors")):
            each.rename(folder / "x.safetensors")
    return f"pickle {name}"


def change_kind(folder: Path, rng: random.Random) -> str:
    """A file is a FIFO, a socket, a link to a device, a folder, a link to nothing or sparse."""
    files = sorted(each for each in folder.rglob("*") if _is_small(each))
    path = rng.choice(files)
    kind = rng.choice(("fifo", "socket", "device", "folder", "nothing", "itself", "sparse"))
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        make_socket(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(100 << 30)
    else:
        path.symlink_to({"device": "/dev/zero", "nothing": "nothing", "itself": path.name}[kind])
    return f"{path.name} is {kind}"


def make_socket(path: Path) -> None:
    """A socket's file; its path may be longer than an address may be."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def change_index(folder: Path, outside: Path, rng: random.Random) -> str:
    """Weights in parts, some of which are elsewhere."""
    weights = folder / "model.safetensors"
    if not _is_small(weights):
        return "no weights"
    part = rng.choice(("../outside/kept.txt", str(outside / "kept.txt"), "evil.bin", 3, "", None))
    names = {"a": "model-1.safetensors", "b": part}
    weights.rename(folder / "model-1.safetensors")
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": names})
    return f"index: {part}"
