"""What a run is: one recipe, the same for every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from toolrest.recipe.collapse import Collapse
from toolrest.recipe.evaluation import Evaluation
from toolrest.recipe.sections import (
    Advantage,
    Data,
    Engine,
    Environment,
    Guards,
    Reward,
    Rollout,
    Section,
    Weighting,
    texts,
)
from toolrest.recipe.updates import Lora, Optimizer, WarmStart

if TYPE_CHECKING:
    from toolrest.data.decompose import Rendering
    from toolrest.data.sources import Source

EMBEDDED = "embedded"

SHIPPED_SHARDING = ("ddp", "fsdp", "zero2", "zero3")
"""Ways of sharing a policy that come with the package."""


class Recipe(Section):
    """A run. Every field has a default; together they are the embedded default run.

    For another policy, TRL's engine works out what a recipe leaves unsaid of learning rates,
    responses a step and a forward, limits of tokens and precision: from the policy's size, the
    memory that is free and the data (`toolrest.estimate.settings`). The run's recipe.yaml has the
    values, with where they came from.
    """

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run's folder below `runs`; None: scheme, policy and seed, and a number if taken."""
    seed: int = Field(default=0, ge=0)
    """Seeds the data order and the sampling."""
    method: Literal["rl", "sft", "tsft", "rsft"] = "rl"
    """rl: reinforcement learning, after the warm start if there is one. sft, tsft, rsft: supervised
    learning alone, with the steps, batch size and learning rate of `warm_start`; then `max_steps`
    and the like play no part, which a note says."""
    policy: str = EMBEDDED
    """`embedded`, a folder with a Hugging Face checkpoint, or a hub name."""
    trust_remote_code: bool = False
    """Whether code that comes with a checkpoint may run."""
    dialect: str = "rlla"
    """How the policy writes thoughts, calls and responses. auto: as its chat template does."""
    max_steps: int = Field(default=25, ge=1)
    """Optimiser steps at most."""
    max_epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows at most; where `max_steps` is unsaid, these alone count. None:
    `max_steps` alone."""
    save_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int | None = Field(default=2, ge=1)
    """How many checkpoints a run keeps, the newest; while one is written there is one more.
    None: all of them."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default_factory=list)
    """Where TRL sends metrics besides the run's own files, but for those of a warm start; each
    needs its package."""

    @field_validator("report_to", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """`wandb` is [wandb], and `none` nobody, as in TRL."""
        names = texts(value)
        return value if names is None else [] if names in (["none"], [""]) else names

    data: Data = Data()
    warm_start: WarmStart = WarmStart()
    environment: Environment = Environment()
    rollout: Rollout = Rollout()
    weighting: Weighting = Weighting()
    reward: Reward = Reward()
    advantage: Advantage = Advantage()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    collapse: Collapse = Collapse()
    guards: Guards = Guards()
    lora: Lora = Lora()
    engine: Engine = Engine()

    @property
    def responses_per_generation(self) -> int:
        """Responses that are sampled at once."""
        return self.rollout.prompts_per_step * self.rollout.group_size

    @property
    def updates_per_generation(self) -> int:
        """Optimiser steps that one generation is split into, in one pass over it."""
        return self.rollout.prompts_per_step // self._mini_batch

    @property
    def responses_per_update(self) -> int:
        """Responses of one optimiser step."""
        return self._mini_batch * self.rollout.group_size

    @property
    def responses_per_forward(self) -> int:
        """Responses in one forward and backward of one process."""
        tokens = self.optimizer.micro_tokens
        if tokens is None:
            return self.optimizer.micro_batch or self.responses_per_process
        return min(self.responses_per_process, max(1, tokens // self.longest_sequence))

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest prompt with the longest response."""
        return self.data.max_prompt_tokens + self.longest_response

    @property
    def longest_response(self) -> int:
        """Tokens that follow a prompt at most."""
        if self.acts:
            return self.environment.max_trajectory_tokens
        return self.rollout.max_response_tokens

    @property
    def acts(self) -> bool:
        """Whether the policy is trained on whole episodes of an environment."""
        return self.environment.source is not None and self.environment.train == "trajectories"

    @property
    def sources(self) -> list[Source]:
        """Where its rows come from; none where it has the embedded world's tasks."""
        from toolrest.data.sources import Source

        if self.data.path is not None:
            return [Source(self.data.path)]
        return [Source(**source.model_dump()) for source in self.data.sources]

    @property
    def evaluation_sources(self) -> list[Source]:
        """Where the rows come from that it is evaluated on; none where they are held out of its
        own.
        """
        from toolrest.data.sources import Source

        path = self.evaluation.path
        return [] if path is None else [Source(path)]

    @property
    def best_by(self) -> str:
        """The number of an evaluation, greater is better, by which a policy is the run's best."""
        greedy = self.engine.name == "verl"
        return self.evaluation.metric or ("greedy_exact_match" if greedy else "exact_match")

    @property
    def rendering(self) -> Rendering:
        """How it has samples written; what depends on the policy's chat template is settled by
        `toolrest.policy.fitting` before.
        """
        from toolrest.data.decompose import Rendering

        rlla = self.dialect == "rlla"
        asked = {"style": self.data.prompt, "think": self.data.think}
        return Rendering(
            dialect=self.dialect,
            style=self.data.prompt or ("rlla" if rlla else "template"),
            # the thoughts of an episode's earlier turns stay, so they do before its single steps
            thoughts="all" if self.environment.source else self.data.thoughts,
            think=rlla if self.data.think is None else self.data.think,
            thought_sentences=self.data.thought_sentences,
            open=tuple(name for name, said in asked.items() if said is None),
        )

    @property
    def responses_per_process(self) -> int:
        """Responses of one optimiser step in one process."""
        return self.responses_per_update // self.engine.processes // self.engine.nodes

    @property
    def steps_per_generation(self) -> int:
        """Optimiser steps from one generation to the next."""
        return self.updates_per_generation * self.optimizer.iterations

    @property
    def _mini_batch(self) -> int:
        return self.optimizer.mini_batch or self.rollout.prompts_per_step
