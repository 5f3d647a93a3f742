"""Regions of a response: which sampled token does which job.

Token ids are labelled as they were sampled, through the bytes that each id stands for. Nothing is
decoded and tokenised again, so the labels are right for non-canonical tokenisations and for bytes
that are not valid UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

    from toolrest.vocabulary import Vocabulary


class Region(IntEnum):
    """What a token of a response is part of (ResT, section 3)."""

    OTHER = 0
    """In no recognised part: stray text, broken calls."""
    FORMAT = 1
    """Tags, the JSON scaffolding of a call, the end-of-turn token."""
    NAME = 2
    """A tool's name, without its quotes."""
    PARAMETERS = 3
    """A call's parameters: the whole object, braces included."""
    REASONING = 4
    """The text of the thought."""
    RESPONSE = 5
    """The text of the final response."""


SCAFFOLDING = len(Region)
"""A scanner's code for the scaffolding of calls and for white space between blocks."""

_DECISIVE_FIRST = (
    *(Region.NAME, Region.PARAMETERS, Region.FORMAT),
    *(Region.RESPONSE, Region.REASONING, Region.OTHER),
)
_TIE_RANK = np.array([len(Region) - _DECISIVE_FIRST.index(region) for region in Region])


class Scanned(Protocol):
    """What a scanner saw in a text."""

    @property
    def spans(self) -> Sequence[tuple[int, int, int]]:
        """(code, start, end): a `Region` or SCAFFOLDING; in order, disjoint."""
        ...


class Scanner(Protocol):
    """What labelling needs of a dialect."""

    def scan(self, text: str) -> Scanned:
        """Read a text; must not raise. Labelling gives it one character a byte."""
        ...


def label_tokens(
    ids: torch.Tensor,
    mask: torch.Tensor,
    vocabulary: Vocabulary,
    dialect: Scanner,
    *,
    scaffolding: Region = Region.FORMAT,
) -> torch.Tensor:
    """Label every token that the policy sampled with its region.

    Each contiguous run of the mask is one assistant turn and is scanned by itself. A token that
    straddles a border takes the region that holds most of its bytes; a tie goes to the more
    decisive one: NAME, PARAMETERS, FORMAT, RESPONSE, REASONING, OTHER.

    Args:
        ids: sampled token ids, integers, [B, T].
        mask: which of them the policy sampled and the loss counts, bool or 0/1, [B, T].
        vocabulary: the bytes of every token id.
        dialect: how the policy writes thoughts, calls and responses.
        scaffolding: the region of call scaffolding, of white space between blocks and of the
            end-of-turn token.

    Returns:
        Regions, int64, [B, T], on the device of `ids`; OTHER wherever the mask is 0.

    Raises:
        ValueError: `ids` and `mask` differ in shape or are not [B, T].
    """
    import torch

    if ids.dim() != 2 or ids.shape != mask.shape:
        raise ValueError(
            f"ids and mask must both be [B, T]; got {tuple(ids.shape)} and {tuple(mask.shape)}"
        )
    labels = label_array(
        ids.detach().cpu().numpy(),
        mask.detach().cpu().numpy().astype(bool),
        vocabulary,
        dialect,
        scaffolding,
    )
    return torch.from_numpy(labels).to(ids.device)


def label_array(
    ids: np.ndarray,
    mask: np.ndarray,
    vocabulary: Vocabulary,
    dialect: Scanner,
    scaffolding: Region = Region.FORMAT,
) -> np.ndarray:
    """`label_tokens` on numpy arrays: ids [B, T], mask bool [B, T] -> int64 [B, T]."""
    labels = np.zeros(ids.shape, dtype=np.int64)
    flat_ids = ids[mask]
    if flat_ids.size == 0:
        return labels
    blob, offsets = vocabulary.concatenate(flat_ids)
    turns = np.append(offsets[_turn_starts(mask)], len(blob))
    byte_codes = _paint(blob.decode("latin-1"), turns.tolist(), dialect)
    codes = np.array([*Region, scaffolding], dtype=np.uint8)[byte_codes]
    token_labels = _majority(codes, offsets)
    token_labels[vocabulary.ends_turn(flat_ids)] = scaffolding
    labels[mask] = token_labels
    return labels


def _turn_starts(mask: np.ndarray) -> np.ndarray:
    """Where, among the masked tokens in row order, a new row or a new run of a row starts."""
    before = np.zeros_like(mask)
    before[:, 1:] = mask[:, :-1]
    return np.flatnonzero((mask & ~before)[mask])


def _paint(text: str, turns: list[int], dialect: Scanner) -> np.ndarray:
    """The scanner's code of every byte; `text` holds one character a byte."""
    edges: list[int] = []
    codes: list[int] = []
    for start, end in pairwise(turns):
        at = start
        for code, span_start, span_end in dialect.scan(text[start:end]).spans:
            if start + span_start > at:
                edges.append(at)
                codes.append(Region.OTHER)
            edges.append(start + span_start)
            codes.append(code)
            at = start + span_end
        if at < end:
            edges.append(at)
            codes.append(Region.OTHER)
    lengths = np.diff(np.array([*edges, len(text)], dtype=np.int64))
    return np.repeat(np.frombuffer(bytes(codes), dtype=np.uint8), lengths)


def _majority(codes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The region of each token from the regions of its bytes; `offsets` [N + 1]."""
    starts, ends = offsets[:-1], offsets[1:]
    labels = np.full(len(starts), int(Region.OTHER), dtype=np.int64)
    if codes.size == 0:
        return labels
    filled = ends > starts
    labels[filled] = codes[starts[filled]]
    changes = np.zeros(len(codes), dtype=np.int32)
    np.cumsum(codes[1:] != codes[:-1], out=changes[1:])
    straddling = np.flatnonzero(filled)
    straddling = straddling[changes[ends[straddling] - 1] != changes[starts[straddling]]]
    if straddling.size:
        lengths = ends[straddling] - starts[straddling]
        owner = np.repeat(np.arange(straddling.size), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        region = codes[np.repeat(starts[straddling], lengths) + within]
        counts = np.bincount(
            owner * len(Region) + region, minlength=straddling.size * len(Region)
        ).reshape(-1, len(Region))
        ranked = np.where(counts > 0, counts * (len(Region) + 1) + _TIE_RANK, 0)
        labels[straddling] = ranked.argmax(axis=1)
    return labels
