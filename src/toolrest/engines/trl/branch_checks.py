"""What does not go together with groups that branch in TRL's trainer."""

from __future__ import annotations

from typing import Any

from toolrest.core.dialects import Dialect, ToolCall, get_dialect
from toolrest.core.forks import Families, decision_starts
from toolrest.engines.trl.config import Credit, ResTConfig
from toolrest.engines.trl.rollout import check_drawn, shared_prefix_rollout
from toolrest.errors import InputError
from toolrest.recipe import Recipe

_UNSEEN = "its names and values are not found while they are written, as they are in JSON"
"""Why a dialect cannot branch."""


def check_branches(
    args: ResTConfig, rollout_func: Any, acts: bool, *, reads_signal: bool = False
) -> None:
    """Refuse what would not sample groups that branch, or not credit them, and what the sampler
    that shares prompts would ignore.

    Args:
        acts: whether the policy has tools or an environment.
        reads_signal: whether the scheme weighs by the regions' gradients.

    Raises:
        InputError: naming the reason and the mend.
    """
    if rollout_func is shared_prefix_rollout:
        check_drawn(args)
    branches = args.branches
    if branches == 1 and args.credit != Credit.FORKS:
        return
    key = f"branches={branches!r}"
    refused = [
        (
            branches == 1 or args.credit != Credit.FORKS,
            f"{key} with credit={args.credit!r}: groups that branch are credited by forks, and no "
            "others are; use both or neither",
        ),
        (
            rollout_func is not shared_prefix_rollout,
            f"{key}: give rollout_func=toolrest.engines.trl.rollout.shared_prefix_rollout, which "
            "alone goes on from a part of a response",
        ),
        (
            args.credit_discount != 1,
            f"{key} with credit_discount={args.credit_discount}: a fork has no later decision that "
            "could count less; leave it out",
        ),
        (
            reads_signal,
            f"{key}: regions' signal is measured of independent responses; use another weighting",
        ),
        (acts, f"{key}: responses branch within one turn; leave tools and environments out"),
        (
            args.multi_objective_aggregation != "sum_then_normalize",
            f"{key} with multi_objective_aggregation={args.multi_objective_aggregation!r}: a fork "
            "compares sums of rewards; leave it out",
        ),
    ]
    for wrong, said in refused:
        if wrong:
            raise InputError(said)
    try:
        Families(None, args.num_generations or 1, branches)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise InputError(f"{key} with num_generations={args.num_generations}: {error}") from error


def check_sampling(recipe: Recipe, *, shares: bool) -> None:
    """Refuse a recipe whose groups would not branch.

    Args:
        recipe: fitted to its policy's chat template.
        shares: whether the sampler that shares prompts samples its policy.

    Raises:
        InputError: naming the reason and the mend.
    """
    key = f"rollout.branches={recipe.rollout.branches}"
    if not shares:
        raise InputError(
            f"{key}: here groups are sampled by transformers' generate, which does not go on from "
            "a part of a response; add rollout.sampler=shared_prefix"
        )
    if not _seen_starts(get_dialect(recipe.dialect)):
        raise InputError(
            f"{key} with dialect={recipe.dialect}: {_UNSEEN}; use rollout.branches=1 "
            "advantage.credit=response"
        )


def check_forks(dialect: Dialect) -> None:
    """Refuse a dialect whose calls begin nowhere that is seen.

    Raises:
        InputError: naming it.
    """
    if not _seen_starts(dialect):
        raise InputError(
            f"branches with the dialect {dialect.name}: {_UNSEEN}; use branches=1, "
            "credit='response'"
        )


def _seen_starts(dialect: Dialect) -> bool:
    """Whether a name and a value are seen to begin while a call is written."""
    text = dialect.write(thought="a", calls=[ToolCall("pay", {"to": "Ann"})], response=None)
    tokens = [bytes([each]) for each in text.encode()]
    return len(decision_starts(tokens, dialect)) >= 2
