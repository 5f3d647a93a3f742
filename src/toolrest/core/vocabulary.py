"""The bytes that each token id stands for, read once from a tokenizer's vocabulary."""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from toolrest.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """A table token id -> bytes.

    Special tokens stand for no bytes: they are not part of the text that a dialect scans, unless
    `from_tokenizer` is told that the dialect writes with them.
    """

    blob: np.ndarray
    """The bytes of all tokens, one after the other, uint8."""
    starts: np.ndarray
    """Where each token's bytes start in the blob, int64, [V + 1]."""
    end_ids: frozenset[int]
    """Ids that end a turn."""

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        written_special_tokens: Iterable[str] = (),
        end_ids: Iterable[int] = (),
    ) -> Vocabulary:
        """Read the table from a fast tokenizer of transformers.

        Byte-level BPE and SentencePiece vocabularies with byte fallback are understood.

        Args:
            tokenizer: a tokenizer with a `tokenizers` backend.
            written_special_tokens: special tokens that are part of the dialect's text.
            end_ids: tokens that end a turn, besides the tokenizer's own and those of common
                templates.

        Raises:
            InputError: the tokenizer is not fast, or its decoder is of another kind.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                f"the tokenizer {type(tokenizer).__name__} is not a fast one, so the bytes of its "
                "tokens cannot be read; load one with a tokenizer.json "
                "(transformers.AutoTokenizer with use_fast=True)"
            )
        written = frozenset(written_special_tokens)
        added = tokenizer.added_tokens_decoder
        ends = frozenset(end_ids) | {
            index
            for index, token in added.items()
            if token.content in _END_OF_TURN or token.content == tokenizer.eos_token
        }
        read = _read_bytes(tokenizer, backend, added)
        if (written, ends) not in read.made:
            table = read.table.copy()
            for index, token in added.items():
                if index < len(table) and (not token.special or token.content in written):
                    table[index] = token.content.encode()
            read.made[written, ends] = cls.from_table(table, ends)
        return read.made[written, ends]

    @classmethod
    def from_table(cls, table: list[bytes], end_ids: Iterable[int] = ()) -> Vocabulary:
        """The vocabulary whose token `i` stands for `table[i]`.

        Args:
            table: the bytes of each token, V entries.
            end_ids: tokens that end a turn.
        """
        starts = np.zeros(len(table) + 1, dtype=np.int64)
        np.cumsum([len(entry) for entry in table], out=starts[1:])
        return cls(np.frombuffer(b"".join(table), dtype=np.uint8), starts, frozenset(end_ids))

    def concatenate(self, ids: np.ndarray) -> tuple[bytes, np.ndarray]:
        """The bytes of the ids in a row, and where each token starts in them.

        Ids beyond the table (a model's embedding is often padded) stand for no bytes.

        Args:
            ids: token ids, integers, [N].

        Returns:
            The bytes, and offsets, int64, [N + 1].
        """
        known = (ids >= 0) & (ids < len(self.starts) - 1)
        safe = np.where(known, ids, 0)
        lengths = np.where(known, self.starts[safe + 1] - self.starts[safe], 0)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.starts[safe] - offsets[:-1], lengths)
        source += np.arange(offsets[-1])
        return self.blob[source].tobytes(), offsets

    def text(self, ids: Sequence[int]) -> str:
        """The text of the ids; bytes that are not UTF-8 become U+FFFD.

        Args:
            ids: token ids, N of them.
        """
        return self.concatenate(np.asarray(ids, dtype=np.int64))[0].decode("utf-8", "replace")

    def pieces(self, ids: Sequence[int], unfinished: str = "") -> list[str]:
        """The text of each id in a row; without `unfinished` they join to `text(ids)`.

        A character whose bytes are in several tokens belongs to the one that completes it.

        Args:
            ids: token ids, N of them.
            unfinished: stands for a token that has nothing but the first bytes of a character.
        """
        blob, offsets = self.concatenate(np.asarray(ids, dtype=np.int64))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        last = len(ids) - 1
        found = []
        for at, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
            piece = decoder.decode(blob[start:end], final=at == last)
            found.append(piece or (unfinished if end > start else ""))
        return found

    def ends_turn(self, ids: np.ndarray) -> np.ndarray:
        """Which ids end a turn, bool, in the shape of `ids`.

        Args:
            ids: token ids, integers, of any shape.
        """
        return np.isin(ids, list(self.end_ids))


@dataclass
class _Read:
    """What was read of a tokenizer."""

    state: tuple[Any, ...]
    """What it was read from."""
    table: list[bytes]
    """The bytes of each token; none of tokens that were added."""
    made: dict[tuple[frozenset[str], frozenset[int]], Vocabulary] = field(default_factory=dict)
    """The vocabularies that were made of it, by special tokens that are written and ends."""


_READ: WeakKeyDictionary[Any, _Read] = WeakKeyDictionary()
"""By tokenizer, for as long as it is there: a run asks a dozen times."""


def _read_bytes(tokenizer: Any, backend: Any, added: Mapping[int, Any]) -> _Read:
    """The bytes of a tokenizer's tokens, read anew where tokens were added to it since."""
    decoder = None if backend.decoder is None else backend.decoder.__getstate__()
    tokens = tuple((index, token.content, token.special) for index, token in added.items())
    state = (backend, backend.get_vocab_size(with_added_tokens=True), decoder, tokens)
    read = _READ.get(tokenizer)
    if read is None or read.state != state:
        to_bytes = _decoder(None if decoder is None else json.loads(decoder))
        vocab = backend.get_vocab(with_added_tokens=True)
        table = [b""] * (max(vocab.values(), default=-1) + 1)
        for token, index in vocab.items():
            if index not in added:
                table[index] = to_bytes(token)
        read = _READ[tokenizer] = _Read(state, table)
    return read


_END_OF_TURN = frozenset(
    (
        *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end|>", "<|endoftext|>"),
        *("<end_of_turn>", "<turn|>"),
    )
)
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes, character -> byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(hidden)}


def _decoder(decoder: dict[str, Any] | None) -> Callable[[str], bytes]:
    kinds = _kinds(decoder)
    if "ByteLevel" in kinds:
        alphabet = _byte_alphabet()
        table = {ord(character): chr(byte) for character, byte in alphabet.items()}
        known = re.compile(f"[{re.escape(''.join(alphabet))}]*").fullmatch

        def from_byte_level(token: str) -> bytes:
            return token.translate(table).encode("latin-1") if known(token) else token.encode()

        return from_byte_level
    if kinds & {"ByteFallback", "Metaspace", "Replace"}:

        def from_sentencepiece(token: str) -> bytes:
            byte = _BYTE_TOKEN.fullmatch(token)
            return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()

        return from_sentencepiece
    raise InputError(
        f"the tokenizer decodes by {sorted(kinds) or 'nothing'}; toolrest reads the bytes of "
        "byte-level BPE and of SentencePiece vocabularies"
    )


def _kinds(decoder: dict[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    if decoder["type"] == "Sequence":
        return {kind for part in decoder["decoders"] for kind in _kinds(part)}
    return {decoder["type"]}
