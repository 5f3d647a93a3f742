"""A count sketch: a long vector in few numbers, of which inner products can be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

WIDTH = 2**14
"""Numbers of a sketch."""
_BLOCK = 128
"""Chunks of a vector that are folded at a time; bounds the memory that it takes."""


class CountSketch:
    """Sketches vectors that are given as lists of tensors, D numbers in all, in K numbers.

    Charikar, Chen and Farach-Colton (2002): each place of the vector has a random sign and one of
    K buckets, and a bucket holds the sum of its signed places. So sketches are linear, and
    E <S x, S y> = <x, y> over the signs and buckets, with a variance of at most
    (|x|^2 |y|^2 + <x, y>^2) / K. Here a tensor is cut in chunks of K places, each of which is
    turned by a random number of buckets: two places of different chunks share a bucket with
    probability 1 / K, and those of one chunk never do.

    Takes one byte a place for the signs.

    Args:
        sizes: the number of elements of each tensor.
        width: K.
        seed: of signs and buckets; sketches of different seeds cannot be compared.
        device: of the tensors.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        width: int = WIDTH,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.width = width
        """K."""
        self._signs: list[torch.Tensor] = []
        self._turns: list[torch.Tensor] = []
        for size in sizes:
            bits = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8)
            turns = torch.randint(0, width, (-(-size // width), 1), generator=generator)
            self._signs.append((2 * bits - 1).to(device))
            self._turns.append(turns.to(device))

    def __call__(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sketch of a vector.

        Args:
            tensors: its parts, of the sizes that were named, in their order.

        Returns:
            Float32, [K].

        Raises:
            ValueError: other sizes.
        """
        if [each.numel() for each in tensors] != [signs.numel() for signs in self._signs]:
            raise ValueError("a sketch is of tensors of the sizes that it was made for")
        device = self._signs[0].device if self._signs else "cpu"
        found = torch.zeros(self.width, device=device)
        places = torch.arange(self.width, device=device)
        for tensor, signs, turns in zip(tensors, self._signs, self._turns, strict=True):
            flat = tensor.detach().reshape(-1)
            for first in range(0, len(turns), _BLOCK):
                part = slice(first * self.width, (first + _BLOCK) * self.width)
                signed = flat[part].float() * signs[part]
                turned = turns[first : first + _BLOCK]
                room = signed.new_zeros(len(turned) * self.width)
                room[: len(signed)] = signed
                index = (places - turned) % self.width
                found += room.view(-1, self.width).gather(1, index).sum(0)
        return found
