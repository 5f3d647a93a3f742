"""The schema of a training sample, which every data format is read into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One prompt and the ground truth of its next assistant action."""

    prompt: tuple[dict[str, Any], ...]
    """Chat messages, each {"role", "content"}; in the template's wording calls too."""
    ground_truth: str
    """A right reply, written in the dialect that the rewards read it with."""
    source: str
    """Where the sample comes from: `world`, or a file's name."""
    identity: str
    """Which one of the source it is, for messages and for resuming."""
    demonstration: str | None = None
    """A right reply with its thought, for supervised learning; None where the source has none."""
    tools: tuple[dict[str, Any], ...] | None = None
    """Tools for the chat template to list, in OpenAI's form; None: the messages list them."""
    true_names: dict[str, str] | None = None
    """Of tools and parameters by their masked names; None: nothing is masked."""
    declared: tuple[dict[str, Any], ...] = ()
    """Tools whose declared types the dialect reads values by, in OpenAI's form; empty for dialects
    whose values say their types."""
    group: str = ""
    """The dialogue that it is a step of: steps of one stay on one side of a split."""
    columns: Mapping[str, Any] | None = None
    """What the `reset` of an environment is given; None: there is no environment."""
    truths: tuple[str, ...] = ()
    """Of an environment's row: a right reply at each step of its dialogue, where that is known."""
    worded: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    """Those settings of `Rendering` that it follows from, by their names, which a prepared file
    keeps; None: not known, as of samples that were stored (`toolrest.data.stored`).
    """
    row: str = field(default="", compare=False)
    """Which row of the file that it was read from, from 0, and which of its samples: `3.1`."""
