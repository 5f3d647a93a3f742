"""How a policy's prompts are worded, kept beside a policy that was taken out of its run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from toolrest.core.dialects import get_dialect
from toolrest.data.wording import Thoughts, style_names
from toolrest.errors import InputError, check_name
from toolrest.io.files import read_json, write_json
from toolrest.recipe import Recipe

WORDING = "toolrest.json"
"""The file's name."""
WORLD = "world"
"""The wording of the embedded tasks, besides those of `toolrest.data.wording`."""
CHAINS = "chains"
"""That of the embedded chains: dialogues in plain words, after the world's own list of tools."""


@dataclass(frozen=True)
class Wording:
    """Dialect and wording of a policy's prompts."""

    dialect: str
    """How it writes calls."""
    style: str
    """See `toolrest.data.wording`; or `WORLD`, `CHAINS`."""
    think: bool = False
    """Whether a prompt in plain words asks for a thought."""
    max_tokens: int = 1024
    """Most tokens of a reply in training."""
    thoughts: Thoughts = "placeholder"
    """What a prompt keeps of the thoughts of earlier actions."""
    idle_sentences: int | None = None
    """How many sentences a prompt of the embedded tasks asks for that decide nothing; None: it does
    not say.
    """

    @property
    def single(self) -> bool:
        """Whether prompts are single requests: without instructions, results or what was said."""
        return self.style == WORLD

    @property
    def listed(self) -> bool:
        """Whether a prompt begins with the embedded world's list of tools, without instructions."""
        return self.style in (WORLD, CHAINS)

    @property
    def asked(self) -> str | None:
        """The style of `toolrest.data.wording` that questions of others are worded in; None: the
        policy knows none.
        """
        return {WORLD: None, CHAINS: "plain"}.get(self.style, self.style)


def wording_of(recipe: Recipe) -> Wording:
    """The wording of a run's prompts. What the chat template is told is in the template itself.

    Args:
        recipe: the run's resolved one. Without data of its own and an environment it trains on the
            embedded tasks, whichever its policy is.
    """
    rendering, source = recipe.rendering, recipe.environment.source
    limit = recipe.rollout.max_response_tokens
    style, idle = rendering.style, None
    if source is None and not recipe.sources:
        style, knobs = WORLD, recipe.data.world.knobs
        idle = None if knobs is None else knobs.idle_sentences
    elif source == "world" and (recipe.acts or not recipe.sources):
        style = CHAINS
    return Wording(recipe.dialect, style, rendering.think, limit, rendering.thoughts, idle)


def write_wording(folder: Path, wording: Wording) -> None:
    """Keep the wording in a policy's folder."""
    write_json(folder / WORDING, asdict(wording))


def read_wording(folder: Path) -> Wording | None:
    """The wording that a folder keeps; None where it keeps none.

    Raises:
        InputError: it is of another form, or names what is not known.
    """
    path = folder / WORDING
    try:
        found = read_json(path)
        wording = Wording(**found)
        if not isinstance(wording.think, bool) or not isinstance(wording.max_tokens, int):
            raise TypeError("think or max_tokens is of another kind")
        if wording.max_tokens < 1:
            raise ValueError("max_tokens is below 1")
        if not isinstance(wording.idle_sentences, int | None):
            raise TypeError("idle_sentences is of another kind")
        check_name("thoughts", str(wording.thoughts), get_args(Thoughts))
        get_dialect(str(wording.dialect))
        known = (*style_names(), WORLD, CHAINS)
        check_name("prompt", str(wording.style), known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); take it out") from error
    return wording
