"""The shape of a decoder, and how many parameters and operations follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolrest.errors import InputError, look_up, short

_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
_NEAR = (
    *("gemma", "gemma2", "gemma3", "gemma3_text", "gpt_oss", "granite", "mixtral", "olmo2"),
    *("phi3", "qwen2_moe", "qwen3_moe", "smollm3"),
)
"""Of the same build but for a few norms, biases and routers, which are not counted."""
PACKED = ("qwen2", "qwen3", "qwen3_moe", "llama", "mistral", "gemma")
"""Model types whose attention over shared prefixes was tried, where it is full."""
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class ModelShape:
    """A decoder with grouped-query attention and a gated MLP (Llama, Mistral, Qwen2, Qwen3); others
    of this build, such as Gemma, gpt-oss and Qwen3-MoE, nearly.
    """

    layers: int
    """Decoder layers (L)."""
    hidden: int
    """Width of the residual stream (h)."""
    heads: int
    """Query heads (a)."""
    kv_heads: int
    """Key and value heads (k)."""
    head_dim: int
    """Width of a head (d)."""
    intermediate: int
    """Width of the MLP (f)."""
    vocab: int
    """Rows of the embedding (V)."""
    tied: bool
    """Whether the output head is the embedding."""
    head_norms: bool = False
    """Whether queries and keys are normalised in each head (Qwen3)."""
    qkv_bias: bool = False
    """Whether queries, keys and values have a bias (Qwen2)."""
    experts: int = 1
    """MLPs of a layer."""
    active: int = 1
    """Of these, which a token goes through."""
    packs: bool = True
    """Whether the TRL engine forwards a prompt once for its responses by default."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """The shape that a Hugging Face config.json describes, its text model's where it has one.

        Raises:
            InputError: another architecture, or a key is missing.
        """
        kind = config.get("model_type")
        if kind not in (*_KNOWN, *_NEAR):
            raise InputError(
                f"model_type={kind!r}: memory and time are calculated for "
                f"{', '.join((*_KNOWN, *_NEAR))} only"
            )
        if isinstance(text := config.get("text_config"), Mapping):
            config = text
        try:
            experts = next((_whole(config, key) for key in _EXPERTS if config.get(key)), 1)
            hidden = _whole(config, "hidden_size")
            heads = _whole(config, "num_attention_heads")
            shape = cls(
                layers=_whole(config, "num_hidden_layers"),
                hidden=hidden,
                heads=heads,
                kv_heads=_whole(config, "num_key_value_heads", heads),
                head_dim=_whole(config, "head_dim", hidden // heads),
                intermediate=_whole(
                    config,
                    "moe_intermediate_size"
                    if experts > 1 and config.get("moe_intermediate_size")
                    else "intermediate_size",
                ),
                vocab=_whole(config, "vocab_size"),
                tied=bool(config.get("tie_word_embeddings", False)),
                head_norms=kind == "qwen3",
                qkv_bias=kind == "qwen2",
                experts=experts,
                active=min(experts, _whole(config, "num_experts_per_tok", 1)),
                packs=kind in PACKED and experts == 1 and not _has_window(config),
            )
            for name, value in vars(shape).items():
                if value < 1 and not isinstance(value, bool):
                    raise ValueError(f"{value} for its {name}")
            return shape
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            said = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"model_type={kind!r}: the policy's config has {said}") from None

    @property
    def query_width(self) -> int:
        """Width of all query heads (a d)."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads, or of all value heads (k d)."""
        return self.kv_heads * self.head_dim

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each matrix of a layer, by its name in transformers."""
        h, q, kv, f = self.hidden, self.query_width, self.kv_width, self.intermediate
        return {
            "self_attn.q_proj": (h, q),
            "self_attn.k_proj": (h, kv),
            "self_attn.v_proj": (h, kv),
            "self_attn.o_proj": (q, h),
            "mlp.gate_proj": (h, f),
            "mlp.up_proj": (h, f),
            "mlp.down_proj": (f, h),
        }

    @property
    def layer_matrices(self) -> int:
        """Parameters of one layer's matrices, with one MLP: 2 h a d + 2 h k d + 3 h f."""
        return sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def active_matrices(self) -> int:
        """Of them, those that one token goes through: with `active` of `experts` MLPs."""
        mlp = 3 * self.hidden * self.intermediate
        return self.layer_matrices + (self.active - 1) * mlp

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: its matrices, two norms, and head norms or biases; with experts
        all of their MLPs and the router.
        """
        extra = 2 * self.head_dim if self.head_norms else 0
        extra += self.query_width + 2 * self.kv_width if self.qkv_bias else 0
        if self.experts > 1:
            extra += (self.experts - 1) * 3 * self.hidden * self.intermediate
            extra += self.experts * self.hidden
        return self.layer_matrices + 2 * self.hidden + extra

    @property
    def head_matrix(self) -> int:
        """Parameters of the output head: V h, in memory once if it is tied."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, a tied head counted once."""
        embeddings = self.head_matrix * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the key and value cache of one token in bfloat16: 2 x 2 L k d."""
        return 2 * 2 * self.layers * self.kv_width

    def lora_parameters(self, rank: int, targets: list[str] | None = None) -> int:
        """Parameters of adapters: rank (inputs + outputs) of each matrix (arXiv 2106.09685).

        Args:
            targets: names such as `q_proj`; None: all linear layers.
        """

        def has(name: str) -> bool:
            path = f".model.layers.0.{name}"
            return targets is None or any(path.endswith(f".{each}") for each in targets)

        sizes = [sum(size) for name, size in self.linear_layers.items() if has(name)]
        return self.layers * rank * sum(sizes)


def _qwen3(layers: int, hidden: int, heads: int, intermediate: int, tied: bool) -> ModelShape:
    return ModelShape(layers, hidden, heads, 8, 128, intermediate, 151_936, tied, True)


PUBLISHED: dict[str, ModelShape] = {
    "Qwen/Qwen3-0.6B": _qwen3(28, 1024, 16, 3072, True),
    "Qwen/Qwen3-1.7B": _qwen3(28, 2048, 16, 6144, True),
    "Qwen/Qwen3-4B-Instruct-2507": _qwen3(36, 2560, 32, 9728, True),
    "Qwen/Qwen3-8B": _qwen3(36, 4096, 32, 12_288, False),
    "Qwen/Qwen3-14B": _qwen3(40, 5120, 40, 17_408, False),
    "meta-llama/Llama-3.2-3B-Instruct": ModelShape(28, 3072, 24, 8, 128, 8192, 128_256, True),
}
"""Policies of the recipes by their names on the hub: the sizes of https://huggingface.co/NAME, file
config.json. Their parameters equal the count that the hub shows for the safetensors (for
Qwen3-0.6B and -1.7B, whose files hold the tied head twice, that count less V h)."""


def _has_window(config: Mapping[str, Any]) -> bool:
    unsaid = 4096 if config.get("model_type") == "mistral" else None  # transformers' own default
    window = config.get("sliding_window", unsaid)
    return bool(window) and bool(config.get("use_sliding_window", True))


def _whole(config: Mapping[str, Any], key: str, otherwise: int | None = None) -> int:
    """A size of a config, which may be left out or null where there is another for it."""
    value = config[key] if otherwise is None else config.get(key) or otherwise
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{key}={short(value)}, which is no number") from None


def get_shape(name: str) -> ModelShape:
    """The shape of a published policy.

    Raises:
        InputError: it is none of `PUBLISHED`.
    """
    return look_up("policy of known shape", name, PUBLISHED)
