"""Labels of a response that is given as its tokens, one letter a token."""

import torch

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary

LETTERS = {
    "F": Region.FORMAT,
    "N": Region.NAME,
    "P": Region.PARAMETERS,
    "T": Region.REASONING,
    "R": Region.RESPONSE,
    ".": Region.OTHER,
}


def label_pieces(pieces: list[str | bytes], dialect: str = "rlla", **options) -> str:
    """Label a response given as its tokens; one letter a token (see LETTERS)."""
    table = [p.encode() if isinstance(p, str) else p for p in pieces]
    ids = torch.arange(len(table)).unsqueeze(0)
    labels = label_tokens(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        Vocabulary.from_table(table),
        get_dialect(dialect),
        **options,
    )
    to_letter = {region: letter for letter, region in LETTERS.items()}
    return "".join(to_letter[Region(label)] for label in labels[0].tolist())
