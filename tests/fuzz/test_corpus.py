"""The corpus that fuzzing found, replayed."""

import base64
from pathlib import Path

import pytest
from parse_and_label import check_in

from toolrest.core.dialects import dialect_names

CORPUS = Path(__file__).parent / "corpus.txt"


@pytest.mark.parametrize("name", dialect_names())
def test_the_corpus_is_read(name):
    rows = [base64.b64decode(row) for row in CORPUS.read_text().splitlines()]
    assert rows
    for row in rows:
        if len(row) >= 2:
            check_in(name, row[1], row[2:])
