"""Held-out evaluation in a recipe's environment: sampled and greedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from toolrest.engines.common.episodes import episode_record, episode_seeds
from toolrest.engines.common.job import Job
from toolrest.rollout.generate import generate_batch
from toolrest.rollout.repeated import RepeatedTurns
from toolrest.rollout.sampler import shares_prefix
from toolrest.rollout.shared_prefix import SharedPrefixTurns
from toolrest.rollout.turns import Trajectory, TurnSampler
from toolrest.runs.headline import is_done

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    """
    samples, recipe, episodes, ranks = job.heldout, job.recipe, job.episodes, job.ranks
    assert episodes is not None
    seeds = episode_seeds(recipe.seed, len(samples), 1)
    stops = list(episodes.seams.speech.stop_ids)
    shared = shares_prefix(model, recipe.rollout.sampler)
    most = recipe.rollout.max_response_tokens
    records: list[dict[str, Any]] = []
    found: dict[str, list[Trajectory]] = {}
    was_training = model.training
    model.eval()
    for number, (decoding, temperature) in enumerate(
        (("sampled", recipe.rollout.temperature), ("greedy", None))
    ):

        def sampler_of(
            prompts: list[list[int]], group: int, temperature: float | None = temperature
        ) -> TurnSampler:
            if shared:
                return SharedPrefixTurns(
                    model, prompts, group_size=group, end_ids=stops, temperature=temperature
                )
            everyone = [ids for ids in prompts for _ in range(group)]
            return RepeatedTurns(
                everyone,
                lambda asked, limit: generate_batch(
                    model, job.tokenizer, asked, limit, temperature, stops
                ),
            )

        mine: dict[int, Trajectory] = {}
        chosen = list(range(len(samples)))[ranks.index :: ranks.count]
        size = recipe.evaluation.batch_size
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(recipe.seed + ranks.index)
            for start in range(0, len(chosen), size):
                batch = chosen[start : start + size]
                uniforms = {
                    turn: torch.rand(
                        len(samples),
                        most,
                        dtype=torch.float64,
                        generator=torch.Generator().manual_seed(recipe.seed + turn),
                    )[batch]
                    for turn in range(episodes.options.turns.turns if temperature else 0)
                }
                played = episodes.play(
                    [samples[at].columns or {} for at in batch],
                    [seeds[at] for at in batch],
                    sampler_of,
                    lambda turn, uniforms=uniforms: uniforms.get(turn),
                )
                mine.update(zip(batch, played.trajectories, strict=True))
                done = number * len(samples) + min(len(samples), ranks.count * (start + size))
                on_progress(done)
        parts = ranks.each(mine)
        everyone = {at: each for part in parts for at, each in part.items()}
        found[decoding] = [everyone[at] for at in range(len(samples))]
        records += [
            {"identity": sample.identity, "decoding": decoding, **episode_record(each)}
            for sample, each in zip(samples, found[decoding], strict=True)
        ]
    model.train(was_training)
    sampled, greedy = map(_means, (found["sampled"], found["greedy"]))
    failed = sum(each.failure is not None for both in found.values() for each in both)
    result = EpisodesResult(
        *sampled[:2], *greedy[:2], sampled[2], greedy[2], failed=failed, n=len(samples)
    )
    return result, records


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
