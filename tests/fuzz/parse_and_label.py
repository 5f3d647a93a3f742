"""Coverage-guided fuzzing of parse and label, in every dialect.

    pip install atheris
    python tests/fuzz/parse_and_label.py -max_total_time=600 -max_len=4096 FOLDER

The first byte chooses the dialect, the second how the rest is cut into tokens. corpus.txt holds the
short ones of the inputs that it found, one for every step from line to line, base64, one a line;
tests/fuzz/test_corpus.py replays them in every dialect.
"""

import sys

import numpy as np

from toolrest.core.dialects import dialect_names, get_dialect
from toolrest.core.dialects.base import ParseStatus, Scan
from toolrest.core.regions import Region, label_array
from toolrest.core.vocabulary import Vocabulary

TOOLS = [{"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}]


def seen(scan: Scan) -> list[object]:
    """All that a reward may depend on; by repr, in which True is not 1."""
    calls = repr(scan.calls)
    return [scan.blocks, calls, scan.response, scan.status, scan.well_formed, scan.calls_intact]


def check(data: bytes) -> None:
    """Raise if a reply's spans or labels are not what they must be, or if a reward would read
    anything else than the scanner sees.
    """
    if len(data) < 2:
        return
    check_in(dialect_names()[data[0] % len(dialect_names())], data[1], data[2:])


def check_in(name: str, cut: int, body: bytes) -> None:
    """The same for a dialect, which of seven ways to cut, and the bytes of a reply."""
    dialect, size = get_dialect(name), 1 + cut % 7
    for text in (body.decode("utf-8", "replace"), body.decode("latin-1")):
        reply = dialect.parse(text)
        at = 0
        for span in reply.spans:
            assert span.start == at < span.end, (dialect.name, text, reply.spans)
            at = span.end
        assert at == len(text)
        assert (reply.status is ParseStatus.OK) == (reply.position is None)
        assert reply.position is None or 0 <= reply.position <= len(text)
        scan = seen(dialect.scan(text))
        assert seen(dialect.read(text)) == scan, (dialect.name, text)
        assert seen(dialect.scan(dialect.without_thought(text))) == scan, (dialect.name, text)
        assert dialect.parse(text, TOOLS).spans == reply.spans, (dialect.name, text)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    vocabulary = Vocabulary.from_table([*pieces, b"\0"])
    ids = np.arange(len(pieces))[None, :]
    mask = ids % (2 + cut) != 1
    labels = label_array(ids, mask, vocabulary, dialect)
    assert not labels[~mask].any()
    assert set(labels.flatten().tolist()) <= set(map(int, Region))


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
