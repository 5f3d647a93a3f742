"""Held-out evaluation in a recipe's environment: sampled and greedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from toolrest.data.sample import Sample
from toolrest.engines.common.episodes import Episodes, episode_record, episode_seeds
from toolrest.engines.common.job import Job
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.errors import InputError
from toolrest.recipe import Recipe
from toolrest.rollout.draw import Draw
from toolrest.rollout.sampler import recipe_draw, turn_samplers
from toolrest.rollout.turns import Trajectory
from toolrest.runs.headline import is_done

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EpisodesResult:
    """How a policy does in held-out episodes, by the names of `HeldOutResult`. Those in which the
    environment failed count for nothing but `failed`.
    """

    exact_match: float
    """Share of the sampled episodes in which the task was done."""
    reward: float
    """Mean reward of the sampled episodes."""
    greedy_exact_match: float
    """The same share under greedy decoding."""
    greedy_reward: float
    """The same mean under greedy decoding."""
    turns: float
    """Mean number of turns of the sampled episodes."""
    greedy_turns: float
    """The same number under greedy decoding."""
    failed: int
    """Episodes, of both kinds, in which the environment failed."""
    n: int
    """Rows, one sampled and one greedy episode each."""


def evaluate_episodes(
    model: PreTrainedModel,
    job: Job,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[EpisodesResult, list[dict[str, Any]]]:
    """Evaluate a policy on a job's held-out rows. Its processes share the work, and each gets the
    whole result.

    Args:
        on_progress: called with the number of episodes so far, of two a row.

    Returns:
        The result, and one record an episode: the row's identity, the turns and what they earned.

    Raises:
        InputError: the environment failed in every episode, so that nothing is known.
    """
    samples, recipe, ranks = job.heldout, job.recipe, job.ranks
    assert job.episodes is not None
    records: list[dict[str, Any]] = []
    found: dict[str, list[Trajectory]] = {}
    for number, (decoding, draw) in enumerate((("sampled", recipe_draw(recipe)), ("greedy", None))):
        how = Playing(draw, recipe.seed, recipe.evaluation.batch_size)
        before = number * len(samples)
        found[decoding] = play_heldout(
            model,
            job.tokenizer,
            recipe,
            job.episodes,
            samples,
            how,
            lambda done, before=before: on_progress(before + done),
            ranks,
        )
        records += [
            {"identity": sample.identity, "decoding": decoding, **episode_record(each)}
            for sample, each in zip(samples, found[decoding], strict=True)
        ]
    failures = [
        each.failure for both in found.values() for each in both if each.failure is not None
    ]
    if failures and len(failures) == len(records):
        raise InputError(f"the environment failed in every episode: {failures[0]}")
    sampled, greedy = map(_means, (found["sampled"], found["greedy"]))
    result = EpisodesResult(
        *sampled[:2], *greedy[:2], sampled[2], greedy[2], failed=len(failures), n=len(samples)
    )
    return result, records


@dataclass(frozen=True)
class Playing:
    """How held-out episodes are played."""

    draw: Draw | None
    """Of its tokens; None: greedy."""
    seed: int
    """Of what is drawn."""
    batch_size: int
    """Episodes that are played side by side."""


def play_heldout(  # noqa: PLR0913 -- a policy, its tasks and how they are played
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    episodes: Episodes,
    samples: Sequence[Sample],
    how: Playing,
    on_progress: Callable[[int], None] = lambda done: None,
    ranks: Ranks = ALONE,
) -> list[Trajectory]:
    """Play an episode of each row. Equal recipes' rows begin equal episodes, whatever `how` says.

    Args:
        on_progress: called with the number of rows so far.
        ranks: the processes that share the work; each gets all trajectories.

    Returns:
        A trajectory a row, in their order.
    """
    seeds = episode_seeds(recipe.seed, len(samples), 1)
    stops = list(episodes.seams.speech.stop_ids)
    most, draw = recipe.rollout.max_response_tokens, how.draw
    sampler_of = turn_samplers(model, tokenizer, recipe.rollout.sampler, stops, draw)

    def uniforms(turn: int) -> torch.Tensor | None:
        numbers = torch.Generator().manual_seed(how.seed + turn)
        if draw is None:
            return None
        return torch.rand(len(samples), most, dtype=torch.float64, generator=numbers)

    mine: dict[int, Trajectory] = {}
    chosen = list(range(len(samples)))[ranks.index :: ranks.count]
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(how.seed + ranks.index)
        for start in range(0, len(chosen), how.batch_size):
            batch = chosen[start : start + how.batch_size]

            def own(turn: int, batch: list[int] = batch) -> torch.Tensor | None:
                numbers = uniforms(turn)
                return None if numbers is None else numbers[batch]

            played = episodes.play(
                [samples[at].columns or {} for at in batch],
                [seeds[at] for at in batch],
                sampler_of,
                own,
            )
            mine.update(zip(batch, played.trajectories, strict=True))
            on_progress(min(len(samples), ranks.count * (start + how.batch_size)))
    model.train(was_training)
    everyone = {at: each for part in ranks.each(mine) for at, each in part.items()}
    return [everyone[at] for at in range(len(samples))]


def _means(played: Sequence[Trajectory]) -> tuple[float, float, float]:
    """(share of successes, mean reward, mean number of turns); a reward above 0 is a success where
    the environment does not say.
    """
    scored = [each for each in played if each.reward is not None]
    if not scored:
        return 0.0, 0.0, 0.0
    done = [is_done(each.success, each.reward) for each in scored]
    count = len(scored)
    return (
        sum(done) / count,
        sum(each.reward or 0.0 for each in scored) / count,
        sum(len(each.turns) for each in scored) / count,
    )
