"""Finds questions that two data sets share, by normalised text and word n-grams."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

_WORDS = re.compile(r"\w+")
GRAM = 8
"""Words in an n-gram."""
NEAR = 0.6
"""A question is near another if it shares this much of its n-grams with it."""
_LEAST_WORDS = 5
"""Shorter questions ("Yes, please.") are alike by chance and are not looked at."""


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return _WORDS.findall(text.lower())


class Questions:
    """An index of questions."""

    def __init__(self, questions: Iterable[tuple[str, str]]) -> None:
        """Index (label, text) pairs."""
        self._equal: dict[str, str] = {}
        self._grams: defaultdict[int, list[int]] = defaultdict(list)
        self._labels: list[str] = []
        for label, text in questions:
            self.add(label, text)

    def add(self, label: str, text: str) -> None:
        """Index one more question."""
        found = words(text)
        if len(found) < _LEAST_WORDS:
            return
        self._equal.setdefault(" ".join(found), label)
        number = len(self._labels)
        self._labels.append(label)
        for gram in _grams(found):
            self._grams[gram].append(number)

    def find(self, text: str) -> tuple[str, str] | None:
        """(label, `equal` or `near`) of an indexed question like this one; None without one."""
        found = words(text)
        if len(found) < _LEAST_WORDS:
            return None
        equal = self._equal.get(" ".join(found))
        if equal is not None:
            return equal, "equal"
        grams = _grams(found)
        hits = Counter(number for gram in grams for number in self._grams.get(gram, ()))
        if not hits:
            return None
        number, count = hits.most_common(1)[0]
        return (self._labels[number], "near") if count >= NEAR * len(grams) else None


def _grams(found: list[str]) -> set[int]:
    return {hash(tuple(found[at : at + GRAM])) for at in range(len(found) - GRAM + 1)}
