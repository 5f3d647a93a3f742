"""A parsed row of any format: a dialogue whose actions are ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolrest.data.dialogue import Action, Dialogue


@dataclass(frozen=True)
class Record:
    """A parsed row."""

    dialogue: Dialogue
    """The whole of it; its actions are ground truth."""
    prompt: tuple[dict[str, Any], ...] | None = None
    """Where the source words the prompt of its last action itself: the messages."""
    truth: str | None = None
    """The ground truth of the last action as the source writes it, in the rlla dialect."""
    demonstration: str | None = None
    """A right reply with its thought, as the source writes it."""
    true_names: dict[str, str] | None = None
    """Of tools and parameters by their masked names; None: nothing is masked."""
    as_it_is: bool = False
    """Whether that prompt stays in every wording; else it does in RLLA's alone."""
    last_alone: bool = False
    """Whether the last action alone is ground truth, as it is where the source has a prompt."""

    @property
    def last(self) -> Action:
        """The last turn, an action.

        Raises:
            ValueError: the dialogue ends with something else.
        """
        turn = self.dialogue.turns[-1] if self.dialogue.turns else None
        if not isinstance(turn, Action):
            raise ValueError("the dialogue does not end with an action")
        return turn
