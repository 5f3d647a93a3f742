"""A recipe's environment at work in one of verl's agent workers. Knows no verl."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.engines.common.episodes import (
    EpisodeOptions,
    Episodes,
    episode_record,
    episode_seeds,
    recipe_options,
)
from toolrest.environments.base import Ending
from toolrest.environments.episode import Episode, Limits
from toolrest.policy.speech import Speech
from toolrest.recipe import Recipe
from toolrest.rollout.alone import SampleTurn, play_alone
from toolrest.rollout.turns import Playing, Trajectory, TurnLimits
from toolrest.runs.headline import is_done

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECORD = "toolrest_episode"
"""Among verl's extra fields of a trajectory: its record, as JSON."""
ROW, HELDOUT = "row", "heldout"
"""Among a row's extra information: what `reset` is given, as JSON; whether the row is held out."""
_ROOM_SECONDS, _ROOM_LOOK = 5.0, 0.1
"""How long, and how often, room on a server is waited for that has none for any episode."""


def episode_settings(recipe: Recipe, output: Path) -> dict[str, Any]:
    """What verl's workers are told of a recipe's environment.

    Args:
        output: the file to which what it prints is added.
    """
    options = recipe_options(recipe)
    rlla = recipe.data.prompt is None and recipe.dialect == "rlla"
    return {
        "source": options.source,
        # until it is fitted to the policy's chat template a recipe may leave the style open
        "style": "plain" if rlla else options.style,
        "think": options.think,
        "max_turns": options.turns.turns,
        "max_turn_tokens": options.turns.turn_tokens,
        "max_tokens": options.turns.tokens,
        "max_result_tokens": options.max_result_tokens,
        "max_prompt_tokens": options.max_prompt_tokens,
        "call_timeout": options.limits.call_timeout,
        "episode_timeout": options.limits.episode_timeout,
        "workers": options.limits.workers,
        "max_memory": options.limits.max_memory,
        "template_options": dict(recipe.data.template_options),
        "failure": recipe.environment.failure,
        "seed": recipe.seed,
        "output": str(output),
    }


def episode_options(told: Mapping[str, Any]) -> EpisodeOptions:
    """The options that `episode_settings` wrote."""
    return EpisodeOptions(
        source=told["source"],
        style=told["style"],
        think=told["think"],
        turns=TurnLimits(told["max_turns"], told["max_turn_tokens"], told["max_tokens"]),
        limits=Limits(
            told["call_timeout"], told["episode_timeout"], told["workers"], told["max_memory"]
        ),
        max_result_tokens=told["max_result_tokens"],
        max_prompt_tokens=told["max_prompt_tokens"],
    )


def episode_seed(seed: int, step: int, index: int, *, heldout: bool) -> int:
    """The seed of an episode; those of a group begin alike.

    Args:
        seed: the recipe's.
        step: verl's; held-out rows begin alike at every one, and as in the TRL engine.
        index: of the row in its file.
    """
    if heldout:
        return episode_seeds(seed, index + 1, 1)[index]
    return random.Random(f"{seed}/{step}/{index}").getrandbits(31)


class EpisodeWorker:
    """Plays episodes in one event loop, many at once.

    Args:
        told: see `episode_settings`.
        tokenizer: the policy's, with the recipe's template options.
        speech: how it ends its turns.

    Raises:
        InputError: see `Episodes`.
    """

    def __init__(
        self, told: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, speech: Speech
    ) -> None:
        output = Path(told["output"])
        output.parent.mkdir(parents=True, exist_ok=True)
        self.episodes = Episodes(episode_options(told), tokenizer, speech, output)
        self._room: int | None = None
        self._begun = 0  # episodes that have begun, or are asking whether they may
        self._refused = 0  # those of them that were told that there is no room
        self._ended = asyncio.Condition()

    async def play(
        self, row: Mapping[str, Any], seed: int, sample: SampleTurn
    ) -> tuple[Trajectory, float]:
        """Play one episode. Whatever the environment does is in the trajectory.

        Returns:
            The trajectory, and the seconds that the environment has been at work.
        """
        episode = await self._begin(row, seed)
        try:
            return await self._play(episode, sample), episode.seconds
        finally:
            await self._end(episode)

    async def _play(self, episode: Episode, sample: SampleTurn) -> Trajectory:
        start, episodes = episode.start, self.episodes
        ids = None if start is None else episodes.prompt(start)
        if start is None or ids is None or isinstance(ids, str):
            why = ids or episode.failure or "the environment did not begin"
            end = episodes.seams.speech.end_id
            return Trajectory([end], ending=Ending.FAILED, failure=str(why))
        trajectory = Trajectory(ids)
        tools, limits = list(start.tools), episodes.options.turns
        await play_alone(Playing(trajectory, episode, episodes.seams, limits, tools), sample)
        return trajectory

    async def _begin(self, row: Mapping[str, Any], seed: int) -> Episode:
        """An episode that has begun, or cannot; where a server has no room for it now, it is waited
        for others of this worker to end, or for a while where there are none.
        """
        patience = _ROOM_SECONDS
        while True:
            async with self._ended:
                await self._ended.wait_for(lambda: self._room is None or self._begun < self._room)
                self._begun += 1
            episode = await asyncio.wrap_future(self.episodes.host.begin(row, seed))
            if episode.room is None or patience <= 0:
                return episode
            self._room = episode.room or 1
            self._refused += 1
            patience -= _ROOM_LOOK if self._begun == self._refused else 0.0
            await asyncio.sleep(_ROOM_LOOK)
            self._refused -= 1
            await self._end(episode)

    async def _end(self, episode: Episode) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.wrap_future(episode.close())
        async with self._ended:
            self._begun -= 1
            if not self._begun:
                self.episodes.host.forget()
            self._ended.notify_all()


@dataclass(frozen=True)
class Output:
    """A trajectory as verl's agent loops give it."""

    prompt_ids: list[int]
    response_ids: list[int]
    """Sampled and read ids, T of them; an episode without any has one that counts for nothing."""
    response_mask: list[int]
    """1 where the policy sampled, [T]."""
    log_probs: list[float]
    """ln p of each sampled id, 0 where it was read or nothing is known, [T]."""
    reward: float
    """What it earned; 0 where the environment failed, which the trainer leaves out."""
    extra_fields: dict[str, Any]
    """The record, what validation averages, and verl's own."""


def episode_output(trajectory: Trajectory, end_id: int) -> Output:
    """What verl is given of a trajectory.

    Args:
        end_id: what stands for an episode that has no tokens.
    """
    log_probs = [p for part in trajectory.statistics for p in part[:, 0].nan_to_num().tolist()]
    reward = trajectory.reward
    info = {
        "episode_reward": reward,
        "exact_match": None if reward is None else float(is_done(trajectory.success, reward)),
        "turns": None if reward is None else float(len(trajectory.turns)),
        "failed": float(reward is None),
    }
    return Output(
        trajectory.prompt_ids,
        trajectory.ids or [end_id],
        list(map(int, trajectory.sampled)) or [0],
        log_probs or [0.0],
        reward or 0.0,
        {
            RECORD: json.dumps(episode_record(trajectory)),
            "reward_extra_info": info,
            "turn_scores": [turn.reward for turn in trajectory.turns],
            "tool_rewards": [],
        },
    )
