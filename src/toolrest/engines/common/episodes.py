"""Episodes of a recipe's environment, played by its policy."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import ToolCall
from toolrest.data.prompts import TemplateRefusal, render_chat
from toolrest.environments.base import Ending, Start
from toolrest.environments.episode import Episode, Limits
from toolrest.environments.host import Host
from toolrest.policy.speech import Speech
from toolrest.recipe import Recipe
from toolrest.recipe.reward_file import reads_environments
from toolrest.rollout.asking import SamplerOf
from toolrest.rollout.player import Player
from toolrest.rollout.sampler import Sampler
from toolrest.rollout.seams import Seams, first_prompt
from toolrest.rollout.turns import Trajectory, Turn, TurnLimits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Played:
    """Some episodes."""

    starts: list[Start | None]
    """What each began with, [B]; None where it could not begin."""
    trajectories: list[Trajectory]
    """What came of each, [B]."""


@dataclass(frozen=True)
class EpisodeOptions:
    """What an environment is, and when its episodes end."""

    source: Any
    """See `toolrest.environments.source.find_source`."""
    style: str
    """How prompts and results are worded: `template` or `plain`."""
    think: bool = False
    """Whether a prompt in plain words asks for a thought."""
    turns: TurnLimits = field(default_factory=TurnLimits)
    """The most turns and tokens."""
    limits: Limits = field(default_factory=Limits)
    """The most time and memory."""
    max_result_tokens: int = 256
    """A longer result is cut in the middle."""
    max_prompt_tokens: int = 1024
    """An episode that begins with more cannot be played."""
    sampler: Sampler = "auto"
    """What samples its turns; see `toolrest.rollout.sampler`."""
    reward: str | None = None
    """FILE.py:NAME of a reward function that reads the environments."""


def recipe_limits(recipe: Recipe) -> Limits:
    """How long and how large episodes of a recipe may be."""
    asked = recipe.environment
    return Limits(asked.call_timeout, asked.episode_timeout, asked.workers, asked.max_memory)


def environment_reward(recipe: Recipe) -> str | None:
    """The recipe's reward function, if it reads `environments`, which live in other processes."""
    return next((named for named in recipe.reward.functions if reads_environments(named)), None)


def recipe_options(recipe: Recipe) -> EpisodeOptions:
    """The options of a recipe with an environment, fitted to its policy's chat template."""
    asked, rendering = recipe.environment, recipe.rendering
    return EpisodeOptions(
        source=asked.source,
        style=rendering.style,
        think=rendering.think,
        turns=TurnLimits(
            asked.max_turns, recipe.rollout.max_response_tokens, asked.max_trajectory_tokens
        ),
        limits=recipe_limits(recipe),
        max_result_tokens=asked.max_result_tokens,
        max_prompt_tokens=recipe.data.max_prompt_tokens,
        sampler=recipe.rollout.sampler,
        reward=environment_reward(recipe),
    )


class Episodes:
    """The environment at work; a context manager.

    Args:
        options: what it is.
        tokenizer: the policy's.
        speech: how it ends its turns.
        output: the file to which what the environments print is added; None: it is dropped.
        warn: shows a line to the user.

    Raises:
        InputError: the environment cannot be loaded, or no turn can follow another in the policy's
            chat template.
    """

    def __init__(
        self,
        options: EpisodeOptions,
        tokenizer: PreTrainedTokenizerBase,
        speech: Speech,
        output: Path | None = None,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        self.options, self.warn, self._tokenizer = options, warn, tokenizer
        self.seams = Seams(tokenizer, speech, options.style, options.max_result_tokens)
        self.seams.check()
        self.host = Host(options.source, options.limits, output, options.reward)

    def play(
        self,
        rows: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
        sampler_of: SamplerOf,
        uniforms: Callable[[int], torch.Tensor | None] = lambda turn: None,
    ) -> Played:
        """Play an episode of each row.

        Args:
            rows: what `reset` is given, [B]; rows of a group stand next to each other.
            seeds: of each episode, [B].
            sampler_of: see `SamplerOf`.
            uniforms: see `toolrest.rollout.player.Player.play`.
        """
        found: dict[int, tuple[Start | None, Trajectory]] = {}
        for wave in self.host.waves(list(zip(rows, seeds, strict=True))):
            places = [at for at, _ in wave]

            def own(turn: int, places: list[int] = places) -> torch.Tensor | None:
                numbers = uniforms(turn)
                return None if numbers is None else numbers[places]

            begun = [episode for _, episode in wave]
            played = self._play(begun, sampler_of, own)
            starts = (each.start for each in begun)
            found |= dict(zip(places, zip(starts, played, strict=True), strict=True))
        ordered = [found[at] for at in range(len(rows))]
        return Played([start for start, _ in ordered], [each for _, each in ordered])

    def _play(
        self,
        begun: Sequence[Episode],
        sampler_of: SamplerOf,
        uniforms: Callable[[int], torch.Tensor | None],
    ) -> list[Trajectory]:
        """Play episodes that have begun, all of them side by side, and close them."""
        prompts: list[list[int]] = []
        episodes: list[Any] = []
        known: dict[str, list[int] | str] = {}
        for episode in begun:
            if episode.start is None:
                prompts.append([])
                episodes.append(episode.failure or "the environment did not begin")
                continue
            said = json.dumps([episode.start.messages, episode.start.tools], default=str)
            if said not in known:
                known[said] = self.prompt(episode.start)
            ids = known[said]
            prompts.append([] if isinstance(ids, str) else ids)
            episodes.append(ids if isinstance(ids, str) else episode)
        self._fill(prompts)
        size = group_size(prompts)
        player = Player(sampler_of(prompts[::size], size), self.seams, self.options.turns)
        tools = [None if each.start is None else list(each.start.tools) for each in begun]
        try:
            return player.play(prompts, episodes, uniforms, tools)
        finally:
            for closing in [episode.close() for episode in begun]:
                closing.result()

    def prompt(self, start: Start) -> list[int] | str:
        """The ids of an episode's prompt, or why it has none."""
        options = self.options
        prompt = first_prompt(start, options.style, self.seams.speech, think=options.think)
        try:
            ids = render_chat(prompt, self._tokenizer)
        except TemplateRefusal as refusal:
            return str(refusal)
        most = options.max_prompt_tokens
        if len(ids) > most:
            return f"the episode begins with {len(ids)} tokens, over the {most} of a prompt"
        return ids

    def _fill(self, prompts: list[list[int]]) -> None:
        """Give rows that did not begin the prompt of a neighbour, so that groups stay whole."""
        usable = [at for at, ids in enumerate(prompts) if ids]
        end = self.seams.speech.end_id
        for at, ids in enumerate(prompts):
            if not ids:
                near = min(usable, key=lambda other: abs(other - at), default=None)
                prompts[at] = [end] if near is None else prompts[near]

    def close(self) -> list[str]:
        """End every process; returns what could not be closed, a line each."""
        return self.host.close()

    def __enter__(self) -> Episodes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def group_size(prompts: Sequence[Sequence[int]]) -> int:
    """How often each prompt stands there, if all do so equally often; else 1."""
    size = 1
    while size < len(prompts) and prompts[size] == prompts[0]:
        size += 1
    blocks = range(0, len(prompts), size)
    whole = len(prompts) % size == 0 and all(
        prompts[at + i] == prompts[at] for at in blocks for i in range(size)
    )
    return size if whole else 1


def episode_seeds(seed: int, count: int, group: int) -> list[int]:
    """Seeds of `count` episodes; those of a group are equal, so that they begin alike."""
    rng = random.Random(seed)
    drawn = [rng.getrandbits(31) for _ in range(-(-count // group))]
    return [drawn[at // group] for at in range(count)]


def episode_metrics(played: Sequence[Trajectory]) -> dict[str, list[float]]:
    """Values of each metric, one a trajectory that has it: `episode/reward`, `/success`, `/turns`,
    `/calls` and `/errors`, and `ending/NAME` for every way to end; and one a turn that a reward is
    known of: `turn_reward/first`, `/middle` and `/last`, where an only turn is the first.
    """
    found: dict[str, list[float]] = {
        "episode/reward": [each.reward for each in played if each.reward is not None],
        "episode/success": [float(each.success) for each in played if each.success is not None],
        "episode/turns": [float(len(each.turns)) for each in played],
        "episode/calls": [float(sum(len(t.calls) for t in each.turns)) for each in played],
        "episode/errors": [float(sum(t.errors for t in each.turns)) for each in played],
    }
    parts: dict[str, list[float]] = {"first": [], "middle": [], "last": []}
    for each in played:
        rewards = [] if each.reward is None else [turn.reward for turn in each.turns]
        parts["first"] += rewards[:1]
        parts["middle"] += rewards[1:-1]
        parts["last"] += rewards[1:][-1:]
    found |= {f"turn_reward/{part}": values for part, values in parts.items()}
    for ending in Ending:
        found[f"ending/{ending}"] = [float(each.ending is ending) for each in played]
    return found


def episode_record(trajectory: Trajectory) -> dict[str, Any]:
    """What is kept of an episode, as JSON."""
    return {
        "turns": [
            asdict(turn) | {"calls": [asdict(call) for call in turn.calls]}
            for turn in trajectory.turns
        ],
        "ending": trajectory.ending,
        "reward": trajectory.reward,
        "success": trajectory.success,
        "failure": trajectory.failure,
    }


def recorded_episode(record: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a record, without its ids."""
    turns = [
        Turn(
            each["text"],
            tuple(ToolCall(call["name"], call["parameters"]) for call in each["calls"]),
            tuple((name, text) for name, text in each["results"]),
            each["errors"],
            each["reward"],
            each["said"],
        )
        for each in record["turns"]
    ]
    return Trajectory(
        [],
        turns=turns,
        ending=Ending(record["ending"]),
        success=record["success"],
        failure=record["failure"],
    )
