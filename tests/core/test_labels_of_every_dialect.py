"""Labels from ids, in every dialect and with real vocabularies, hold whatever is sampled."""

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from cells import share
from hypothesis import assume, given
from hypothesis import strategies as st
from replies import calls, prose, spoiled
from vocabularies import VOCABULARIES

from toolrest.core.dialects import dialect_names, get_dialect
from toolrest.core.regions import Region, label_array, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError

every_dialect = pytest.mark.parametrize("dialect", dialect_names())
every_vocabulary = pytest.mark.parametrize("vocabulary", VOCABULARIES)


@cache
def table(vocabulary: str) -> tuple[Vocabulary, dict[bytes, int]]:
    """The vocabulary, and its ids by their bytes."""
    tokenizer = VOCABULARIES[vocabulary]()
    special = {t for name in dialect_names() for t in get_dialect(name).special_tokens}
    read = Vocabulary.from_tokenizer(tokenizer, written_special_tokens=special)
    blob = read.blob.tobytes()
    starts = read.starts.tolist()
    ids = {blob[a:b]: index for index, (a, b) in enumerate(pairwise(starts)) if b > a}
    return read, ids


def sample(data: bytes, ids: dict[bytes, int], draw) -> list[int]:
    """Ids whose bytes are `data`, cut anywhere that the vocabulary has a token for."""
    rng = Random(draw(st.integers(0, 2**32)))
    found, at = [], 0
    while at < len(data):
        sizes = [n for n in range(1, 17) if data[at : at + n] in ids and at + n <= len(data)]
        size = rng.choice(sizes)
        found.append(ids[data[at : at + size]])
        at += size
    return found


def write(dialect, thought, calls, response) -> bytes:
    """The bytes of a reply that the dialect can express."""
    try:
        text = get_dialect(dialect).render(thought=thought, calls=calls, response=response)
        return text.encode()
    except (InputError, UnicodeEncodeError):
        assume(False)
        raise


def label(ids: list[int], vocabulary: Vocabulary, dialect: str) -> list[int]:
    array = np.array([ids], dtype=np.int64).reshape(1, -1)
    ones = np.ones_like(array, dtype=bool)
    return label_array(array, ones, vocabulary, get_dialect(dialect))[0].tolist()


@every_vocabulary
@every_dialect
@share(4)
@given(thought=prose, calls=calls, response=prose, data=st.data())
def test_labels_are_those_of_the_characters(vocabulary, dialect, thought, calls, response, data):
    """Whatever the tokenisation; a token over a border takes a region that it holds."""
    text = write(dialect, thought, calls, response)
    if data.draw(st.booleans()):
        text = data.draw(spoiled(text)).decode("utf-8", "ignore").encode()
    by_byte = [
        span.region
        for span in get_dialect(dialect).parse(text.decode()).spans
        for _ in text.decode()[span.start : span.end].encode()
    ]
    read, ids = table(vocabulary)
    sampled = sample(text, ids, data.draw)
    _, offsets = read.concatenate(np.array(sampled, dtype=np.int64))
    for token, start, end, got in zip(
        sampled, offsets, offsets[1:], label(sampled, read, dialect), strict=False
    ):
        if token not in read.end_ids:
            counts = {region: by_byte[start:end].count(region) for region in by_byte[start:end]}
            assert counts[Region(got)] == max(counts.values())


@every_vocabulary
@every_dialect
@share(4)
@given(thought=prose, calls=calls, response=prose, data=st.data())
def test_noise_padding_and_masks_are_labelled(vocabulary, dialect, thought, calls, response, data):
    """Bytes that are no text, ids that are no token, end tokens in the middle: never an error."""
    read, ids = table(vocabulary)
    text = data.draw(spoiled(write(dialect, thought, calls, response)))
    sampled = sample(text, ids, data.draw)
    odd = [*read.end_ids, len(read.starts) + 5, -100]
    for _ in range(data.draw(st.integers(0, 3))):
        sampled.insert(data.draw(st.integers(0, len(sampled))), data.draw(st.sampled_from(odd)))
    rng = Random(data.draw(st.integers(0, 2**32)))
    mask = torch.tensor([[rng.random() < 0.8 for _ in sampled]], dtype=torch.bool).reshape(1, -1)
    row = torch.tensor([sampled], dtype=torch.long).reshape(1, -1)
    labels = label_tokens(row, mask, read, get_dialect(dialect))
    assert labels.shape == row.shape
    assert not labels[~mask].any()
    assert set(labels.flatten().tolist()) <= set(map(int, Region))
