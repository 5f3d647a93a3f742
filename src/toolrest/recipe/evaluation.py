"""The section of a recipe on its evaluations."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from toolrest.recipe.sections import Section, texts


class Evaluation(Section):
    """Held-out evaluation before and after training, and on the way."""

    path: str | None = None
    """A file of any format, or a data set on the hub, whose first `samples` rows are evaluated on;
    then no row of `data` is held out. None: `data.heldout_fraction` of the rows, or the embedded
    world's held-out tasks."""
    every: int = Field(default=0, ge=0)
    """Steps between evaluations on the way, into evaluation/curve.jsonl; 0: none."""
    before: bool = True
    """Whether the policy is evaluated before training too. False where that is known, as of many
    runs from one policy: what a run gained is then not told."""
    samples: int = Field(default=256, ge=0)
    """Held-out prompts at most; 0: none."""
    batch_size: int = Field(default=128, ge=1)
    """Responses that are sampled at once. Unsaid: see `Recipe`."""
    benchmarks: list[Literal["bfcl", "apibank", "world"]] = Field(default_factory=list)
    """Benchmarks of `toolrest evaluate` that the policy is asked too, greedily and in the training
    process, whenever it is evaluated: each into a folder in evaluation/, its shares of right
    answers into curve.jsonl."""
    benchmark_items: int | None = Field(default=None, ge=1)
    """The first items of each category that are asked. None: all, which BFCL has thousands of."""
    bfcl_categories: list[str] = Field(default_factory=list)
    """Names of BFCL's categories or groups (non_live, live, multi_turn). Empty: all."""
    apibank: str | None = None
    """The folder with API-Bank's three processed files (docs/evaluate.md)."""
    metric: Literal["exact_match", "reward", "greedy_exact_match", "greedy_reward"] | None = None
    """The number of evaluation/curve.jsonl, greater is better, by which a policy of the run is its
    best. None: exact_match; with the engine verl, which evaluates greedily, greedy_exact_match."""
    save_best: bool = False
    """Whether the checkpoint with the best `metric` is kept beside the newest ones, for which one
    is written after every evaluation that is the best so far; best.json names it."""
    patience: int | None = Field(default=None, ge=1)
    """After so many evaluations in a row whose `metric` is no better than the best before them,
    training ends with a checkpoint and the run is done. None: it goes on to `max_steps`."""

    @field_validator("benchmarks", "bfcl_categories", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """`bfcl,world` is [bfcl, world], and `none` no benchmark."""
        names = texts(value)
        return value if names is None else [] if names in (["none"], [""]) else names
