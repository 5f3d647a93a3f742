"""The official constants on whole texts, by hand; one token a listed piece."""

import pytest
import torch

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.core.weights import TokenBatch, get_scheme


def weights_of(pieces, step, steps=100):
    scheme = get_scheme("official", steps=steps)
    ids = torch.arange(len(pieces)).unsqueeze(0)
    mask = torch.ones_like(ids, dtype=torch.bool)
    vocabulary = Vocabulary.from_table([piece.encode() for piece in pieces])
    regions = label_tokens(
        ids, mask, vocabulary, get_dialect("rlla"), scaffolding=scheme.scaffolding
    )
    return scheme(TokenBatch(regions, mask, step / steps))[0].tolist()


@pytest.mark.parametrize(
    ("step", "pieces"),
    [
        (
            0,
            [
                *[("<think>", 1.0), (" a", 0.6), (" b ", 0.6), ("</think>", 1.0), ("\n", 0.0)],
                *[("<tool_call>", 1.0), ('\n{"', 0.0), ("name", 0.0), ('": "', 0.0), ("Get", 1.2)],
                *[("News", 1.2), ('", "parameters": ', 0.0), ('{"page": ', 0.6), ('"1"}', 0.6)],
                *[("}\n", 0.0), ("</tool_call>", 1.0)],
            ],
        ),
        (
            50,
            [
                *[("<think>", 1.0), (" ok ", 0.7), ("</think>", 1.0), ("\n", 0.0)],
                *[("<response>", 1.0), (" It is", 0.0), (" done ", 0.0), ("</response>", 1.0)],
            ],
        ),
        (
            100,
            [
                *[
                    ("<tool_call>", 1.0),
                    ('{"name": "', 0.0),
                    ("A", 1.2),
                    ('", "parameters": ', 0.0),
                ],
                *[("{}", 0.8), ('}\n{"name": "', 0.0), ("B", 1.2), ('", "parameters": ', 0.0)],
                *[('{"x": [1, 2]}', 0.8), ("}", 0.0), ("</tool_call>", 1.0)],
            ],
        ),
        (0, [("plain text", 0.0), ("<think>", 1.0), (" cut off", 0.6)]),
    ],
)
def test_weights_of_whole_texts(step, pieces):
    raw = [weight for _, weight in pieces]
    mean = sum(raw) / len(raw)
    expected = [weight / mean for weight in raw]
    assert weights_of([piece for piece, _ in pieces], step) == pytest.approx(expected, abs=1e-6)
