"""The one schema that every source of data is read into."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One prompt and the ground truth of its next assistant action."""

    prompt: tuple[dict[str, str], ...]
    """Chat messages, each {"role", "content"}."""
    ground_truth: str
    """A right reply, written in the dialect that the rewards read it with."""
    source: str
    """Where the sample comes from: `world`, or a file's name."""
    identity: str
    """Which one of the source it is, for messages and for resuming."""
    demonstration: str | None = None
    """A right reply with its thought, for supervised learning; None where the source has none."""
