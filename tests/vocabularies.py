"""Real vocabularies, from the packages that carry their files; and one trained here."""

import json
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from toolrest.core.dialects import dialect_names, get_dialect

SPECIAL_TOKENS = sorted({t for name in dialect_names() for t in get_dialect(name).special_tokens})


def _file(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package}, which carries {path}, is not installed")
    return Path(spec.submodule_search_locations[0]) / path


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    return fast


@cache
def qwen() -> PreTrainedTokenizerFast:
    """Qwen's byte-level BPE of 151,643 tokens."""
    path = _file("qwen_agent", "utils/qwen.tiktoken")
    return _fast(TikTokenConverter(vocab_file=str(path)).converted())


@cache
def tekken() -> PreTrainedTokenizerFast:
    """Mistral's Tekken of 130,072 tokens."""
    data = json.loads(_file("mistral_common", "data/tekken_240911.json").read_text())
    count = data["config"]["default_vocab_size"] - data["config"]["default_num_special_tokens"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.tiktoken"
        path.write_text("".join(f"{e['token_bytes']} {e['rank']}\n" for e in data["vocab"][:count]))
        return _fast(
            TikTokenConverter(vocab_file=str(path), pattern=data["config"]["pattern"]).converted()
        )


@cache
def trained() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 600 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        '<tool_call>\n{"name": "get_news", "parameters": {"page": 1, "city": "東京"}}\n',
        "<think> I should call get_news now </think>",
    ]
    tokenizer.train_from_iterator(texts, trainer)
    return _fast(tokenizer)


VOCABULARIES = {"qwen": qwen, "tekken": tekken, "trained": trained}
