"""A warning of the monitor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Warned:
    """A warning for the user."""

    name: str
    """Which sign."""
    step: int
    """Optimiser steps done."""
    text: str
    """What was seen, with its number."""
    advice: str
    """What to try."""

    def __str__(self) -> str:
        return f"warning, step {self.step}: {self.text}; {self.advice}"
