"""The corpus that fuzzing found, replayed."""

import base64
from pathlib import Path

from parse_and_label import check

CORPUS = Path(__file__).parent / "corpus.txt"


def test_the_corpus_is_read():
    rows = CORPUS.read_text().splitlines()
    assert rows
    for row in rows:
        check(base64.b64decode(row))
