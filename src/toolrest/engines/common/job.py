"""What a run gives an engine, and what an engine gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from toolrest.core.dialects import get_dialect
from toolrest.data.sample import Sample
from toolrest.engines.common.data import Origin, Samples
from toolrest.engines.common.episodes import Episodes, recipe_options
from toolrest.engines.common.monitor import Monitor
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.io.files import append_json
from toolrest.policy.speech import read_speech
from toolrest.policy.weights import load_generation_config
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OnStep = Callable[[int, dict[str, Any]], None]
"""Called with an optimiser step and what was measured in it."""
Result = dict[str, Any]
"""What one evaluation found, by name; `n`: samples."""


class View(Protocol):
    """Shows the progress of a job."""

    def stage(self, text: str, total: int | None = None) -> None:
        """Begin a stage of the job; `total`: the amount of work in it."""
        ...

    def advance(self, done: int) -> None:
        """Set the amount of work done in this stage."""
        ...

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """Show the metrics of an optimiser step."""
        ...

    def note(self, text: str) -> None:
        """Show the user a note."""
        ...

    def warn(self, text: str) -> None:
        """Show the user a warning."""
        ...


class Interrupted(Exception):
    """The user asked to stop; what is done is kept."""


@dataclass(frozen=True)
class Job:
    """One run, ready to be trained."""

    recipe: Recipe
    """The resolved recipe."""
    run: RunFolder
    """Where everything is written."""
    view: View
    """Who is told."""
    tokenizer: PreTrainedTokenizerBase
    """The policy's."""
    samples: Samples
    """The rows."""
    origin: Origin = field(default_factory=Origin)
    """What the rows and the policy are by their hashes."""
    ranks: Ranks = ALONE
    """The processes that train together."""
    resume: bool = False
    """Whether the run goes on."""
    first: int = 0
    """The optimiser steps done before."""

    @property
    def heldout(self) -> list[Sample]:
        """The rows that the policy is evaluated on."""
        return self.samples.heldout[: self.recipe.evaluation.samples]

    @property
    def is_evaluated(self) -> bool:
        """Whether there is anything that the policy is evaluated on."""
        return bool(self.heldout or self.recipe.evaluation.benchmarks)

    @cached_property
    def episodes(self) -> Episodes | None:
        """The recipe's environment at work, to be closed; None: it has none."""
        if self.recipe.environment.source is None:
            return None
        dialect, own = get_dialect(self.recipe.dialect), load_generation_config(self.recipe)
        episodes = Episodes(
            recipe_options(self.recipe),
            self.tokenizer,
            read_speech(self.tokenizer, dialect, own),
            self.run.environment_log,
            self.view.warn,
        )
        for note in episodes.host.notes if self.ranks.main else ():
            self.view.note(note)
        return episodes

    @cached_property
    def monitor(self) -> Monitor:
        """The monitor of the run, which has read the metrics that are in the folder already."""
        say = self.view.warn if self.ranks.main else lambda text: None
        return Monitor(self.recipe, self.run, say)

    def begin(self, stage: str) -> None:
        """Rewind a resumed run to `first`, give the warnings of the data, and begin the stage."""
        if self.ranks.main:
            if self.resume:
                self.run.rewind(self.first)
                self.view.note(f"going on from step {self.first} of {self.recipe.max_steps}")
            self.monitor.dropped(len(self.samples.dropped), self.samples.rows)
            self.monitor.changed(self.first, self.origin.changed)
        self.view.stage(stage, self.recipe.max_steps)
        self.view.advance(self.first)

    def record(self, step: int, metrics: dict[str, Any]) -> None:
        """Write a step's metrics, show them, and look for signs of trouble in them."""
        record = {"step": step, **metrics}
        append_json(self.run.metrics, record)
        self.view.step(step, record)
        self.monitor.read(step, record)


@dataclass(frozen=True)
class Outcome:
    """The result of a finished training."""

    before: Result | None
    """The evaluation before; None without held-out rows."""
    after: Result | None
    """The one after."""
    steps: int
    """Optimiser steps done."""
    ended: str | None = None
    """Why it ended before the recipe's last step; None: it did not."""
    best: dict[str, Any] | None = None
    """What best.json has, in process 0; None: no checkpoint is kept as the best."""


class Evaluation(Protocol):
    """Evaluates a run's policy on its held-out rows, and stores the results in the folder."""

    def whole(self, model: PreTrainedModel, when: str, step: int = 0) -> Result | None:
        """The result before or after training, `step` optimiser steps done; a stored one is read
        instead of computed again. None without held-out rows and benchmarks.
        """
        ...

    def on_the_way(self, model: PreTrainedModel, step: int) -> None:
        """Evaluate after an optimiser step, and add the result to the curve."""
        ...

    def add(self, step: int, result: Result | None) -> None:
        """Add a result to the curve."""
        ...


class Engine(Protocol):
    """Trains the policy of a run."""

    def check(self, recipe: Recipe, run: RunFolder) -> list[str]:
        """Notes for the user, found before any data is read.

        Raises:
            InputError: the engine cannot do what the recipe asks for, or not on this machine.
        """
        ...

    def first_step(self, recipe: Recipe, run: RunFolder) -> int:
        """The optimiser steps done in the checkpoint that a resumed run goes on from."""
        ...

    def train(self, job: Job, evaluation: Evaluation) -> Outcome:
        """Train to the recipe's last step.

        Raises:
            InputError: something given cannot be used, or training failed.
            Interrupted: the user asked to stop.
        """
        ...
