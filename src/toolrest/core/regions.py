"""Regions of a response: the role of each sampled token.

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

    from toolrest.core.vocabulary import Vocabulary


class Region(IntEnum):
    """The part of a response that a token belongs to (ResT, section 3)."""

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
    """The result of a scanner."""

    @property
    def spans(self) -> Sequence[tuple[int, int, int]]:
        """(code, start, end): a `Region` or SCAFFOLDING; in order, disjoint."""
        ...


class Scanner(Protocol):
    """The part of a dialect that labelling uses."""

    def scan(self, text: str) -> Scanned:
        """Read a turn; must not raise. Labelling gives it one character a byte."""
        ...

    def opening(self, prompt: str) -> str:
        """The part of the reply that the prompt has written already."""
        ...


def label_tokens(
    ids: torch.Tensor,
    mask: torch.Tensor,
    vocabulary: Vocabulary,
    dialect: Scanner,
    *,
    openings: Sequence[str] | None = None,
    scaffolding: Region = Region.FORMAT,
) -> torch.Tensor:
    """Label every token that the policy sampled with its region.

    Each contiguous run of the mask is one assistant turn and is scanned by itself, after what was
    written of it before the policy began: `openings` for a row's first turn, the tokens since the
    turn before for a later one. A token that straddles a border takes the region that holds most of
    its bytes; a tie goes to the more decisive one: NAME, PARAMETERS, FORMAT, RESPONSE, REASONING,
    OTHER.

    Args:
        ids: sampled token ids, integers, [B, T].
        mask: which of them the policy sampled and the loss counts, bool or 0/1, [B, T].
        vocabulary: the bytes of every token id.
        dialect: how the policy writes thoughts, calls and responses.
        openings: what each row's prompt has written of the reply already, as `Dialect.opening` sees
            it; None: nothing.
        scaffolding: the region of call scaffolding, of white space between blocks and of the
            end-of-turn token.

    Returns:
        Regions, int64, [B, T], on the device of `ids`; OTHER wherever the mask is 0.

    Raises:
        ValueError: `ids` and `mask` differ in shape or are not [B, T], or there are not B openings.
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
        openings,
    )
    return torch.from_numpy(labels).to(ids.device)


def label_array(
    ids: np.ndarray,
    mask: np.ndarray,
    vocabulary: Vocabulary,
    dialect: Scanner,
    scaffolding: Region = Region.FORMAT,
    openings: Sequence[str] | None = None,
) -> np.ndarray:
    """`label_tokens` on numpy arrays: ids [B, T], mask bool [B, T] -> int64 [B, T]."""
    labels = np.zeros(ids.shape, dtype=np.int64)
    if openings is not None and len(openings) != len(ids):
        raise ValueError(f"{len(openings)} openings for {len(ids)} rows")
    flat_ids = ids[mask]
    if flat_ids.size == 0:
        return labels
    blob, offsets = vocabulary.concatenate(flat_ids)
    begins = _begins_turn(mask)
    turns = np.append(offsets[np.flatnonzero(begins[mask])], len(blob))
    before = _written_before(ids, mask, begins, vocabulary, dialect, openings)
    byte_codes = _paint(blob.decode("latin-1"), turns.tolist(), before, dialect)
    codes = np.array([*Region, scaffolding], dtype=np.uint8)[byte_codes]
    token_labels = _majority(codes, offsets)
    token_labels[vocabulary.ends_turn(flat_ids)] = scaffolding
    labels[mask] = token_labels
    return labels


def _begins_turn(mask: np.ndarray) -> np.ndarray:
    """Which tokens start a run of the mask, bool [B, T]."""
    before = np.zeros_like(mask)
    before[:, 1:] = mask[:, :-1]
    return mask & ~before


def _written_before(
    ids: np.ndarray,
    mask: np.ndarray,
    begins: np.ndarray,
    vocabulary: Vocabulary,
    dialect: Scanner,
    openings: Sequence[str] | None,
) -> list[str]:
    """For each turn, the text before the first sampled token, one character a byte."""
    before: list[str] = []
    last_row = -1
    for row, column in np.argwhere(begins).tolist():
        if row != last_row:
            written = "" if openings is None else openings[row]
            before.append(written.encode().decode("latin-1"))
        else:
            end = np.flatnonzero(mask[row, :column])[-1] + 1
            between, _ = vocabulary.concatenate(ids[row, end:column])
            before.append(dialect.opening(between.decode("latin-1")))
        last_row = row
    return before


def spans_after(spans: Sequence[tuple[int, int, int]], start: int) -> list[tuple[int, int, int]]:
    """The spans of a text without its first `start` characters."""
    return [(code, max(0, a - start), b - start) for code, a, b in spans if b > start]


def _paint(text: str, turns: list[int], before: list[str], dialect: Scanner) -> np.ndarray:
    """The scanner's code of every byte, [N]; `text` holds one character a byte."""
    edges: list[int] = []
    codes: list[int] = []
    for (start, end), written in zip(pairwise(turns), before, strict=True):
        at = start
        spans = dialect.scan(written + text[start:end]).spans
        for code, span_start, span_end in spans_after(spans, len(written)) if written else spans:
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
