"""Majorities and ties between every two regions, and the shapes that labelling takes."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from toolrest.core.regions import SCAFFOLDING, Region, label_tokens
from toolrest.core.vocabulary import Vocabulary

DECISIVE = (
    *(Region.NAME, Region.PARAMETERS, Region.FORMAT),
    *(Region.RESPONSE, Region.REASONING, Region.OTHER),
)


class Marked:
    """A dialect in which every character names its region: 0 to 5, and 6 for scaffolding."""

    def opening(self, prompt):
        return ""

    def scan(self, text, *more, **options):
        found = [(int(c), at, at + 1) for at, c in enumerate(text) if c != "0"]
        return SimpleNamespace(spans=found)


def labels(rows, mask=None, **options):
    """Regions of rows of tokens, each given by the codes of its bytes."""
    table = sorted({token for row in rows for token in row})
    width = max(map(len, rows))
    ids = torch.tensor([[table.index(t) for t in row] + [0] * (width - len(row)) for row in rows])
    if mask is None:
        mask = torch.tensor([[at < len(row) for at in range(width)] for row in rows])
    vocabulary = Vocabulary.from_table([token.encode() for token in table])
    return label_tokens(ids, mask, vocabulary, Marked(), **options).tolist()


@pytest.mark.parametrize(("one", "other"), itertools.permutations(Region, 2))
def test_a_tie_goes_to_the_more_decisive_and_a_majority_to_the_greater(one, other):
    better = min(one, other, key=DECISIVE.index)
    pair, more = f"{one:d}{other:d}", f"{one:d}{other:d}{one:d}"
    assert labels([[pair, more, pair * 2]]) == [[better, one, better]]


def test_three_regions_in_a_token():
    assert labels([["123", "544", "0041", "112223333"]]) == [[2, 4, 0, 3]]


@pytest.mark.parametrize("region", list(Region))
def test_scaffolding_is_the_region_that_it_is_told_to_be(region):
    assert labels([[f"{SCAFFOLDING}", "3", "0"]], scaffolding=region) == [[region, 3, 0]]
    assert labels([[f"{SCAFFOLDING}"]]) == [[Region.FORMAT]]


def test_tokens_without_bytes_are_other_but_for_the_end():
    vocabulary = Vocabulary.from_table([b"", b"3", b""], end_ids=[2])
    ids = torch.tensor([[0, 1, 0, 2], [0, 0, 0, 0]])
    found = label_tokens(ids, torch.ones_like(ids), vocabulary, Marked())
    assert found.tolist() == [[0, 3, 0, 1], [0, 0, 0, 0]]
    assert found.dtype == torch.int64
    only = label_tokens(ids[1:], torch.ones_like(ids[1:]), vocabulary, Marked())
    assert only.tolist() == [[0, 0, 0, 0]]


def test_rows_of_different_lengths_and_nothing_at_all():
    assert labels([["1", "23"], ["5"], ["4", "4", "31"]]) == [[1, 2, 0], [5, 0, 0], [4, 4, 3]]
    assert labels([["1", "2"]], mask=torch.tensor([[0, 0]])) == [[0, 0]]


def test_turns_do_not_see_each_other():
    seen = []

    class Watching(Marked):
        def scan(self, text, *more, **options):
            seen.append(text)
            return super().scan(text)

    table = [b"1", b"2", b"3"]
    ids = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1]])
    found = label_tokens(ids, mask, Vocabulary.from_table(table), Watching())
    assert seen == ["12", "1", "3", "2"]
    assert found.tolist() == [[1, 2, 0, 1], [3, 0, 0, 2]]


@pytest.mark.parametrize("shape", [(2,), (1, 2, 3)])
def test_ids_must_be_rows(shape):
    with pytest.raises(ValueError, match="must both be"):
        label_tokens(
            torch.zeros(shape).long(),
            torch.ones(shape),
            Vocabulary.from_table([b"a"]),
            Marked(),
        )


def test_a_token_of_very_many_bytes():
    """Counts and ranks do not run into each other."""
    token = "1" * 500 + "2" * 501 + "3" * 500
    assert labels([[token, "3" * 1000 + "2" * 999]]) == [[2, 3]]
    assert np.array(labels([[token] * 40])).tolist() == [[2] * 40]
