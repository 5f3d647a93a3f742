import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from toolrest.core import vocabulary as vocabulary_module
from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError

TEXTS = [
    '<think> hi </think>\n<tool_call>\n{"name": "Get", "parameters": {"x": "é 東京 🙂"}}\n',
    "naïve café, привет мир\t\r\n",
    "   three   spaces",
]


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE with ▁ for spaces and byte fallback, decoded as Llama's tokenizers are."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=40,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [t for t in plain["added_tokens"] if not t["content"].startswith("<0x")]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)), eos_token="</s>", unk_token="<unk>"
    )


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens(["<tool_call>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


@pytest.mark.parametrize("make", [sentencepiece_tokenizer, byte_level_tokenizer])
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_ids_are_the_text(make, text):
    tokenizer = make()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    blob, offsets = vocabulary.concatenate(np.array(ids))
    assert blob.decode() == text
    assert offsets[-1] == len(text.encode())
    assert vocabulary.text(ids) == text


def test_special_tokens_stand_for_no_bytes_and_ends_are_known():
    tokenizer = byte_level_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    ids = np.array([tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<tool_call>")])
    assert vocabulary.concatenate(ids)[0] == b"<tool_call>"
    assert vocabulary.ends_turn(ids).tolist() == [True, False]
    written = Vocabulary.from_tokenizer(tokenizer, written_special_tokens=["<|end|>"])
    assert written.text(ids) == "<|end|><tool_call>"


def test_ids_beyond_the_table_stand_for_no_bytes():
    vocabulary = Vocabulary.from_table([b"a", b"bc"])
    blob, offsets = vocabulary.concatenate(np.array([1, 7, 0, -1]))
    assert blob == b"bca"
    assert offsets.tolist() == [0, 2, 2, 3, 3]


def test_a_slow_tokenizer_is_named():
    class SlowTokenizer:
        pass

    with pytest.raises(InputError, match="SlowTokenizer is not a fast one"):
        Vocabulary.from_tokenizer(SlowTokenizer())


def test_an_unknown_kind_of_vocabulary_is_named():
    tokenizer = Tokenizer(models.WordPiece({"a": 0}, unk_token="a"))
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(InputError, match="WordPiece"):
        Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def test_the_table_is_read_once_of_a_tokenizer_and_anew_where_it_has_more_tokens(monkeypatch):
    """A run asks a dozen times; on 150,000 tokens each reading takes a while."""
    tokenizer = byte_level_tokenizer()
    read = []
    real = vocabulary_module._decoder
    monkeypatch.setattr(vocabulary_module, "_decoder", lambda kind: read.append(0) or real(kind))
    first = Vocabulary.from_tokenizer(tokenizer)
    assert Vocabulary.from_tokenizer(tokenizer) is first
    marked = Vocabulary.from_tokenizer(tokenizer, written_special_tokens=[tokenizer.eos_token])
    ended = Vocabulary.from_tokenizer(tokenizer, end_ids=[1])
    assert len(read) == 1
    end = tokenizer.eos_token_id
    assert (first.text([end]), marked.text([end])) == ("", tokenizer.eos_token)
    assert ended.end_ids == first.end_ids | {1}
    tokenizer.add_tokens(["<more>"])
    more = Vocabulary.from_tokenizer(tokenizer)
    assert len(read) == 2 and more.text([len(tokenizer) - 1]) == "<more>"
    assert Vocabulary.from_tokenizer(byte_level_tokenizer()).end_ids == first.end_ids
    assert len(read) == 3, "another tokenizer"
