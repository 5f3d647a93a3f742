"""Every byte of a byte-level vocabulary, every kind of decoder, and ids at the borders."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError


def byte_level(*tokens):
    """A byte-level tokenizer of these tokens, as they are written in tokenizer.json."""
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


class Stated:
    """A decoder that says what it is, as those of tokenizers do."""

    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state


class Given(SimpleNamespace):
    """A tokenizer, which is itself alone, as those of transformers are."""

    __hash__ = object.__hash__


def decoded_by(decoder, *tokens):
    """A vocabulary read from a backend that says no more than its decoder and its tokens."""
    backend = SimpleNamespace(
        decoder=None if decoder is None else Stated(json.dumps(decoder).encode()),
        get_vocab_size=lambda with_added_tokens: len(tokens),
        get_vocab=lambda with_added_tokens: {token: at for at, token in enumerate(tokens)},
    )
    return Vocabulary.from_tokenizer(
        Given(backend_tokenizer=backend, added_tokens_decoder={}, eos_token=None)
    )


def test_every_byte_has_its_stand_in():
    """As ByteLevel itself writes the bytes of a text of all of them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert len(letters) == 256
    tokenizer = byte_level(*letters)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    found = [vocabulary.concatenate(np.array([at]))[0] for at in range(256)]
    assert sorted(found) == [bytes([byte]) for byte in range(256)]
    for text in ("Aé~¡ÿ", " \n\t\x00\x7f\xa0\xad", "東🙂"):
        written = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        [(stand_ins, _)] = written.pre_tokenize_str(text)
        ids = [letters.index(letter) for letter in stand_ins]
        assert vocabulary.text(ids) == text


def test_a_token_that_is_not_written_in_stand_ins_is_its_text():
    """The last of the 68 stand-ins for bytes that cannot be printed is U+0143; U+0144 is none."""
    vocabulary = Vocabulary.from_tokenizer(byte_level("a", "Ġa", "a b", "東", "\u0144"))
    assert [vocabulary.text([at]) for at in range(5)] == ["a", " a", "a b", "東", "\u0144"]


@pytest.mark.parametrize(
    "decoder",
    [
        {"type": "ByteFallback"},
        {"type": "Metaspace"},
        {"type": "Replace"},
        {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Metaspace"}]},
        {
            "type": "Sequence",
            "decoders": [{"type": "Sequence", "decoders": [{"type": "ByteFallback"}]}],
        },
    ],
)
def test_every_kind_of_sentencepiece_decoder(decoder):
    found = decoded_by(decoder, "▁a▁b", "<0x0A>", "<0xfF>", "<0x0>", "x<0x0A>", "<0x0A>y", "é")
    read = [found.concatenate(np.array([at]))[0] for at in range(7)]
    assert read == [b" a b", b"\n", b"\xff", b"<0x0>", b"x<0x0A>", b"<0x0A>y", "é".encode()]


def test_byte_level_inside_a_sequence_is_byte_level():
    decoder = {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Replace"}]}
    assert decoded_by(decoder, "Ġa").text([0]) == " a"


@pytest.mark.parametrize(("decoder", "words"), [(None, "nothing"), ({"type": "CTC"}, "CTC")])
def test_another_decoder_is_named(decoder, words):
    with pytest.raises(InputError, match=words):
        decoded_by(decoder, "a")


def test_added_tokens_special_and_plain():
    tokenizer = byte_level("a", "b")
    tokenizer.add_tokens([AddedToken("<plain>", special=False), AddedToken("Ġ", special=False)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<mark>", "<other>"]})
    ids = tokenizer.convert_tokens_to_ids(["<plain>", "Ġ", "<mark>", "<other>"])
    plain = Vocabulary.from_tokenizer(tokenizer)
    assert [plain.text([at]) for at in ids] == ["<plain>", "Ġ", "", ""]
    told = Vocabulary.from_tokenizer(tokenizer, written_special_tokens=["<mark>"])
    assert [told.text([at]) for at in ids] == ["<plain>", "Ġ", "<mark>", ""]


def test_ids_that_no_token_has_stand_for_no_bytes():
    backend = SimpleNamespace(
        decoder=Stated(b'{"type": "ByteLevel"}'),
        get_vocab_size=lambda with_added_tokens: 2,
        get_vocab=lambda with_added_tokens: {"a": 1, "b": 4},
    )
    vocabulary = Vocabulary.from_tokenizer(
        Given(backend_tokenizer=backend, added_tokens_decoder={}, eos_token=None)
    )
    blob, offsets = vocabulary.concatenate(np.array([0, 1, 3, 4, 5, -1, 1]))
    assert blob == b"aba"
    assert offsets.tolist() == [0, 0, 1, 1, 2, 2, 2, 3]
    assert len(vocabulary.starts) == 6


def test_a_response_of_nothing():
    blob, offsets = Vocabulary.from_table([b"a"]).concatenate(np.array([], dtype=np.int64))
    assert (blob, offsets.tolist()) == (b"", [0])
    assert Vocabulary.from_table([b"a"]).text([]) == ""
    assert len(decoded_by({"type": "ByteLevel"}).starts) == 1


def test_the_first_and_the_last_id_of_the_table():
    vocabulary = Vocabulary.from_table([b"x", b"", b"yz"])
    blob, offsets = vocabulary.concatenate(np.array([2, 0, 1, 2, 3]))
    assert blob == b"yzxyz"
    assert offsets.tolist() == [0, 2, 3, 3, 5, 5]
    assert vocabulary.blob.tobytes() == b"xyz"


def test_bytes_that_are_not_utf_8_become_the_replacement_character():
    vocabulary = Vocabulary.from_table([b"\xe6\x9d", b"\xb1", b"\xff"])
    assert vocabulary.text([0, 1]) == "東"
    assert vocabulary.text([2]) == "�"


def test_ends_of_turns_in_the_shape_of_the_ids():
    vocabulary = Vocabulary.from_table([b"a", b"", b""], end_ids=[1, 2])
    assert vocabulary.ends_turn(np.array([[0, 1], [2, 9]])).tolist() == [
        [False, True],
        [True, False],
    ]
    assert not Vocabulary.from_table([b"a"]).ends_turn(np.array([0, 1])).any()


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end|>"])
def test_marks_that_end_a_turn(mark):
    tokenizer = byte_level("a")
    tokenizer.add_special_tokens({"additional_special_tokens": [mark, "<|else|>"]})
    ids = np.array(tokenizer.convert_tokens_to_ids([mark, "<|else|>", "a"]))
    assert Vocabulary.from_tokenizer(tokenizer).ends_turn(ids).tolist() == [True, False, False]
    tokenizer.eos_token = "<|else|>"
    assert Vocabulary.from_tokenizer(tokenizer).ends_turn(ids).tolist() == [True, True, False]


SPLITS = (
    # bytes of each token, their pieces with "." for an unfinished one
    ([b"a", b"b"], ["a", "b"]),
    (["東".encode()[:1], "東".encode()[1:]], [".", "東"]),
    ([*("🙂".encode()[at : at + 1] for at in range(4))], [".", ".", ".", "🙂"]),
    ([b"a" + "é".encode()[:1], "é".encode()[1:] + b"b"], ["a", "éb"]),
    (["東".encode()[:2], b"", "東".encode()[2:], b""], [".", "", "東", ""]),
    (["東".encode()[:2], b"x"], [".", "\ufffdx"]),
    (["東".encode()[:2]], ["\ufffd"]),
    ([b"\xff", b"a"], ["\ufffd", "a"]),
    ([], []),
)


@pytest.mark.parametrize(("table", "pieces"), SPLITS)
def test_a_character_of_several_tokens_is_a_piece_of_the_last(table, pieces):
    vocabulary = Vocabulary.from_table(table)
    ids = [*range(len(table))]
    assert vocabulary.pieces(ids, ".") == pieces
    assert "".join(vocabulary.pieces(ids)) == vocabulary.text(ids)
