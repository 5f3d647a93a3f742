"""Rows that share a prompt as one sequence, in which the prompt stands once.

A group of G rows with a prompt of P tokens and responses of R_1 .. R_G tokens becomes

    prompt[:-1] | prompt[-1] response_1[:-1] | .. | prompt[-1] response_G[:-1]

of P - 1 + sum R_g tokens in place of G * (P + max R). Each response begins with the prompt's last
token, which predicts its first one; its last token predicts nothing that counts. Groups stand one
behind the other, without padding. A response without tokens, as one whose mask is empty, is the
prompt's last token alone, and nothing of it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch


@dataclass(frozen=True)
class Sequences:
    """N sequences of queries, each prompt and each response, that stand one behind the other, and
    the keys of each: as kernels of variable lengths take them.
    """

    keys: torch.Tensor
    """Place of each key in the packed sequence, int64, [K]: of a prompt itself; of a response its
    prompt, then itself. A prompt's stand here once a response."""
    query_ends: torch.Tensor
    """Where each sequence's queries begin, and the last one's end, int32, [N + 1]."""
    key_ends: torch.Tensor
    """The same of its keys, int32, [N + 1]."""
    most_queries: int
    most_keys: int


@dataclass(frozen=True)
class Group:
    """Where a group stands in the sequence, and which of its tokens attend to which."""

    start: int
    """Of the prompt."""
    prompt: int
    """Tokens of the prompt but the last, P - 1."""
    lengths: tuple[int, ...]
    """Tokens of each response, R_g, at least 1."""
    padded: torch.Tensor
    """Place of each response token behind the prompt, int64, [G, W], W = max R; 0 for padding."""
    real: torch.Tensor
    """The reverse: index of each response token in [G * W], int64, [sum R]."""
    mask: torch.Tensor
    """Whether a response token attends to a key of [prompt, own response], bool, [W, P - 1 + W]."""

    @property
    def end(self) -> int:
        return self.start + self.prompt + sum(self.lengths)


@dataclass(frozen=True)
class Packed:
    """B rows of T response tokens as one sequence of L tokens."""

    ids: torch.Tensor
    """int64, [1, L]."""
    positions: torch.Tensor
    """Place of each token in its own row, int64, [1, L]."""
    scored: torch.Tensor
    """The positions that predict a response token, int64, [N]: all but those of prompts."""
    labels: torch.Tensor
    """The token that each of them predicts, int64, [1, N]."""
    groups: tuple[Group, ...]
    places: torch.Tensor
    """Which of them predicts each response token, int64, [B, T]; 0 where a row has none."""
    counted: torch.Tensor
    """Where a row has a response token, bool, [B, T]."""

    @cached_property
    def sequences(self) -> Sequences:
        """Which keys each prompt and each response attends to, causally from their ends."""
        keys: list[torch.Tensor] = []
        queries: list[int] = []
        for group in self.groups:
            prompt = torch.arange(group.start, group.start + group.prompt)
            if group.prompt:
                keys.append(prompt)
                queries.append(group.prompt)
            at = group.start + group.prompt
            for length in group.lengths:
                keys.append(torch.cat((prompt, torch.arange(at, at + length))))
                queries.append(length)
                at += length
        counts = [len(each) for each in keys]
        device = self.ids.device

        def ends(lengths: list[int]) -> torch.Tensor:
            return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

        return Sequences(
            torch.cat(keys).to(device), ends(queries), ends(counts), max(queries), max(counts)
        )

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """One value a prediction -> one a response token: [1, N] -> [B, T], 0 where none is."""
        return values[0][self.places] * self.counted.to(values.dtype)


def group_rows(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The rows of each prompt, in the order in which the prompts first come."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(prompts):
        found.setdefault(tuple(prompt), []).append(row)
    return list(found.values())


def pack(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    width: int,
    device: torch.device | str = "cpu",
) -> Packed:
    """Pack rows, those of equal prompts behind their prompt.

    Args:
        prompts: token ids, at least one in each row, B rows.
        responses: token ids, B rows.
        width: T of `Packed.places`, at least the longest response.
    """
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    scored: list[int] = []
    places = torch.zeros(len(prompts), width, dtype=torch.long)
    counted = torch.zeros(len(prompts), width, dtype=torch.bool)
    groups = []
    for rows in group_rows(prompts):
        start = len(ids)
        *shared, last = prompts[rows[0]]
        ids += shared
        positions += range(len(shared))
        for row in rows:
            count = len(responses[row])
            counted[row, :count] = True
            places[row, :count] = torch.arange(len(labels), len(labels) + count)
            response = list(responses[row]) or [last]
            scored += range(len(ids), len(ids) + len(response))
            ids += [last, *response][: len(response)]
            positions += range(len(shared), len(shared) + len(response))
            labels += response
        lengths = [max(1, len(responses[row])) for row in rows]
        groups.append(_group(start, len(shared), lengths, device))

    def tensor(values: list[int]) -> torch.Tensor:
        return torch.tensor([values], dtype=torch.long, device=device)

    return Packed(
        ids=tensor(ids),
        positions=tensor(positions),
        scored=tensor(scored)[0],
        labels=tensor(labels),
        groups=tuple(groups),
        places=places.to(device),
        counted=counted.to(device),
    )


def _group(start: int, prompt: int, lengths: list[int], device: torch.device | str) -> Group:
    width = max(lengths)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    within = torch.arange(width)
    real = within < torch.tensor(lengths)[:, None]  # [G, W]
    padded = (starts[:-1, None] + within).masked_fill(~real, 0)
    own = within[:, None] >= within  # causal, [W, W]
    mask = torch.cat((torch.ones(width, prompt, dtype=torch.bool), own), dim=1)
    return Group(
        start,
        prompt,
        tuple(lengths),
        padded.to(device),
        real.flatten().nonzero()[:, 0].to(device),
        mask.to(device),
    )


def split_rows(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    budget: float,
    least: int = 1,
) -> list[list[int]]:
    """Cut rows into parts whose packed tokens stay within a budget, groups whole where they fit.

    Args:
        prompts: token ids, B rows.
        responses: token ids, B rows.
        budget: tokens; a single row may be longer and then is a part of its own.
        least: make at least so many parts; at most B.

    Returns:
        The rows of each part. Each row is in one.
    """
    parts: list[list[int]] = []
    used = 0
    for rows in group_rows(prompts):
        prompt = len(prompts[rows[0]]) - 1
        whole = prompt + sum(len(responses[row]) for row in rows)
        apart = used + whole > budget >= whole  # it fits whole in a part of its own
        for place, row in enumerate(rows):
            more = len(responses[row]) + (prompt if place == 0 else 0)
            if not parts or used + more > budget or (apart and place == 0):
                parts.append([])
                used, more = 0, len(responses[row]) + prompt
            parts[-1].append(row)
            used += more
    while len(parts) < least:
        _halve_largest(parts)
    return parts


def split_padded(lengths: Sequence[int], budget: float, least: int = 1) -> list[list[int]]:
    """Cut rows into parts of like lengths whose tokens, padding counted, stay within a budget.

    Args:
        lengths: tokens of each row, B rows.
        budget: tokens; a single row may be longer and then is a part of its own.
        least: make at least so many parts; at most B.

    Returns:
        The rows of each part. Each row is in one.
    """
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda at: lengths[at], reverse=True):
        if not parts or lengths[parts[-1][0]] * (len(parts[-1]) + 1) > budget:
            parts.append([])
        parts[-1].append(row)
    while len(parts) < least:
        _halve_largest(parts)
    return parts


def _halve_largest(parts: list[list[int]]) -> None:
    largest = max(range(len(parts)), key=lambda at: len(parts[at]))
    rows = parts[largest]
    parts[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
