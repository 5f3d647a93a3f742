"""Policies of each architecture, with random weights of a few thousand numbers, in folders."""

from pathlib import Path
from typing import Any

import torch
import transformers
from chat_templates import shipped
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from vocabularies import trained

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
}
MISTRAL = """{{- bos_token }}{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate user/assistant/user/assistant/...') }}{%- endif %}
{%- if m.role == 'user' %}{{- '[INST] ' + m.content + ' [/INST]' }}
{%- else %}{{- m.content + eos_token }}{%- endif %}{%- endfor %}"""
"""Mistral 7B's first one: no system text, no tools."""
CHATML = """{%- for m in messages %}
{%- if loop.first and m.role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face' }}
{{- '<|im_end|>\\n' }}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""SmolLM2's: no tools."""
GEMMA_MARKS = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "end": "<end_of_turn>"}
QWEN_MARKS = {"bos": None, "eos": "<|im_end|>", "pad": "<|endoftext|>", "end": "<|im_end|>"}
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "llama": (
        "LlamaConfig",
        shipped("llama3_2"),
        {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>", "pad": None, "end": "<|eot_id|>"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    ),
    "qwen2": ("Qwen2Config", shipped("qwen2_5"), QWEN_MARKS, {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", shipped("qwen3"), QWEN_MARKS, {"tie_word_embeddings": True}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        shipped("qwen3_instruct_2507"),
        QWEN_MARKS,
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    ),
    "gemma2": ("Gemma2Config", shipped("gemma"), GEMMA_MARKS, {"sliding_window": 64}),
    "gemma3": ("Gemma3TextConfig", shipped("gemma3"), GEMMA_MARKS, {"sliding_window": 64}),
    "mistral": (
        "MistralConfig",
        MISTRAL,
        {"bos": "<s>", "eos": "</s>", "pad": None, "end": "</s>"},
        {"sliding_window": 64},
    ),
    "gpt_oss": (
        "GptOssConfig",
        shipped("gptoss"),
        {
            "bos": "<|startoftext|>",
            "eos": "<|return|>",
            "pad": "<|endoftext|>",
            "end": "<|return|>",
        },
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
    ),
    "smollm2": (
        "LlamaConfig",
        CHATML,
        {"bos": "<|im_start|>", "eos": "<|im_end|>", "pad": "<|im_end|>", "end": "<|im_end|>"},
        {
            "hidden_size": 36,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 4,
            "tie_word_embeddings": True,
        },
    ),
}
"""Name -> configuration's class, chat template, special tokens, and what else is its own."""


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """A vocabulary of some hundred tokens with the architecture's special tokens and template."""
    _, template, marks, _ = ARCHITECTURES[name]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained().backend_tokenizer,
        **{f"{kind}_token": marks[kind] for kind in ("bos", "eos", "pad") if marks[kind]},
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [marks["end"]]})
    tokenizer.chat_template = template
    return tokenizer


def model_of(name: str, tokenizer: PreTrainedTokenizerFast, **changed: Any) -> Any:
    """Random weights, the same ones each time; a vocabulary padded beyond the tokenizer's."""
    kind, _, marks, more = ARCHITECTURES[name]
    ids: dict[str, Any] = {
        f"{each}_token_id": tokenizer.convert_tokens_to_ids(marks[each]) if marks[each] else None
        for each in ("bos", "eos", "pad")
    }
    padded = -(-len(tokenizer) // 64) * 64
    config = getattr(transformers, kind)(**{**SMALL, **more, **ids, "vocab_size": padded} | changed)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    end: Any = tokenizer.convert_tokens_to_ids(marks["end"])
    ends = sorted({ids["eos_token_id"], end})
    model.generation_config = GenerationConfig(**{**ids, "eos_token_id": ends})
    return model


def write_policy(folder: Path, name: str, dtype: torch.dtype = torch.float32, **saved: Any) -> Path:
    """The policy of an architecture in a folder, saved as `save_pretrained` is told."""
    tokenizer = tokenizer_of(name)
    model_of(name, tokenizer).to(dtype).save_pretrained(folder, **saved)
    tokenizer.save_pretrained(folder)
    return folder
