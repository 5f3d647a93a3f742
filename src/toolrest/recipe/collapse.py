"""The section of a recipe on collapse."""

from __future__ import annotations

from pydantic import Field

from toolrest.recipe.sections import Section


class Collapse(Section):
    """What counts as a collapse of the policy: any of three signs, looked for at each evaluation on
    the way and at the one at the end."""

    exact_match: float = Field(default=0.15, gt=0, le=1)
    """Sampled held-out exact match has fallen by so much, as a share, from the best one of the run
    so far, that before training included."""
    format: float = Field(default=0.9, ge=0, le=1)
    """A smaller share of the sampled held-out responses has the right format. 0: never a sign."""
    reasoning_entropy: float = Field(default=2.0, gt=1, allow_inf_nan=True)
    """The mean entropy of reasoning tokens, over as many steps before the evaluation as a
    generation has, is more than so many times that of the first step that has such tokens. .inf:
    never a sign."""
    end: bool = False
    """Whether training ends with a checkpoint at the evaluation that shows a collapse, and the run
    is done. `toolrest compare --stability` sets it."""
