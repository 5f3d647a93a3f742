"""Episodes as verl's agent workers play them, without verl: what comes of them, what goes wrong."""

import asyncio
import json
import random
import shutil
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from acting import CHAINS, SOURCES
from environments.processes import all_gone
from episode_scripts import CALLS, Batched, Script

from toolrest.core.dialects import get_dialect
from toolrest.engines.common.episodes import (
    EpisodeOptions,
    Episodes,
    episode_record,
    recorded_episode,
)
from toolrest.engines.verl import episodes as verl_episodes
from toolrest.engines.verl.episodes import (
    RECORD,
    EpisodeWorker,
    episode_options,
    episode_output,
    episode_seed,
    episode_settings,
)
from toolrest.engines.verl.speech import config_speech
from toolrest.environments.base import Ending
from toolrest.environments.episode import Limits
from toolrest.policy.folder import policy_path
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.rollout.alone import NotSampled, Said
from toolrest.rollout.turns import TurnLimits
from toolrest.world.chains import chain_rows
from toolrest.world.tasks import Split

COUNT = 12


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHAINS)


@pytest.fixture(scope="module")
def speech(tokenizer):
    return read_speech(tokenizer, get_dialect("rlla"))


def told(tmp_path, source="world", **more):
    settings = {
        **episode_settings(CHAINS, tmp_path / "environment.log"),
        "source": source,
        "max_turns": 4,
        "max_turn_tokens": 60,
        "max_tokens": 200,
    }
    return settings | more


def alone(tmp_path, tokenizer, speech, jobs, sample=None, **more):
    """The trajectories of (row, seed) pairs, each played by itself in one event loop."""
    script = Script(tokenizer)

    async def scripted(ids, most):
        await asyncio.sleep(random.random() / 100)
        said = script.says(ids, most)
        return Said(said, [-0.5] * len(said))

    async def run():
        worker = EpisodeWorker(told(tmp_path, **more), tokenizer, speech)
        try:
            return await asyncio.gather(
                *(worker.play(row, seed, sample or scripted) for row, seed in jobs)
            )
        finally:
            worker.episodes.close()

    return [trajectory for trajectory, _ in asyncio.run(run())]


def jobs_of(count=COUNT, **more):
    return [(row | more, at) for at, row in enumerate(chain_rows(Split.TRAIN, count))]


def test_both_engines_loops_give_equal_trajectories(tmp_path, tokenizer, speech):
    options = episode_options(told(tmp_path))
    jobs = jobs_of()
    with Episodes(options, tokenizer, speech) as episodes:
        rows, seeds = zip(*jobs, strict=True)
        batch = episodes.play(rows, seeds, Batched(tokenizer).of).trajectories
    found = alone(tmp_path, tokenizer, speech, jobs)
    assert len({each.ending for each in batch}) > 2 and max(len(e.turns) for e in batch) > 2
    for one, other in zip(found, batch, strict=True):
        assert one.prompt_ids == other.prompt_ids
        assert (one.ids, one.sampled) == (other.ids, other.sampled)
        assert episode_record(one) == episode_record(other)


LIMITS = [
    ({"max_turns": 2}, Ending.TURNS, 2),
    ({"max_turn_tokens": 9}, Ending.CUT, 1),
    ({"max_tokens": 30}, Ending.BUDGET, 1),
]


@pytest.mark.parametrize(("limits", "ending", "turns"), LIMITS)
def test_limits_are_kept(tmp_path, tokenizer, speech, limits, ending, turns):
    call = get_dialect("rlla").render(thought="I.", calls=CALLS[:1], response=None)
    ids = tokenizer(call + "<|im_end|>")["input_ids"]
    assert 9 < len(ids) < 30

    async def calling(before, most):
        assert most <= 60
        return Said(ids[:most])

    [one] = alone(tmp_path, tokenizer, speech, jobs_of(1), calling, **limits)
    assert (one.ending, len(one.turns)) == (ending, turns)
    assert len(one.ids) <= limits.get("max_tokens", 200)


def test_a_prompt_that_is_too_long_is_no_episode(tmp_path, tokenizer, speech):
    [one] = alone(tmp_path, tokenizer, speech, jobs_of(1), max_prompt_tokens=8)
    assert one.ending is Ending.FAILED and "over the 8 of a prompt" in one.failure
    assert one.reward is None and not one.ids


FAILURES = [("reset", "raise"), ("call", "hang"), ("finish", "exit"), ("finish", "raise")]


@pytest.mark.parametrize(("where", "how"), FAILURES)
def test_what_fails_is_unscored_and_leaves_nothing(tmp_path, tokenizer, speech, where, how):
    more = {"where": where, "how": how, "every": 2, "pids": str(tmp_path / "pids")}
    began = time.monotonic()
    found = alone(
        tmp_path,
        tokenizer,
        speech,
        jobs_of(8, **more),
        source=f"{SOURCES / 'training.py'}:Failing",
        call_timeout=0.5,
    )
    assert time.monotonic() - began < 30
    failed = [each for each in found if each.failure is not None]
    assert failed and len(failed) < len(found)
    for each in failed:
        assert each.reward is None and each.ending is Ending.FAILED and "\n" not in each.failure
        made = episode_output(each, speech.end_id)
        assert made.extra_fields["reward_extra_info"]["episode_reward"] is None
        lengths = {len(made.response_ids), len(made.response_mask), len(made.log_probs)}
        assert len(lengths) == 1 and lengths != {0}
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert pids and all_gone(pids)


def test_a_turn_that_the_server_breaks_off_is_unscored(tmp_path, tokenizer, speech):
    async def sample(ids, most):
        raise NotSampled("verl's server broke off a turn")

    [one] = alone(tmp_path, tokenizer, speech, jobs_of(1), sample)
    assert (one.ending, one.reward) == (Ending.FAILED, None)
    assert one.failure == "verl's server broke off a turn"


def test_what_verl_is_given(tmp_path, tokenizer, speech):
    for each in alone(tmp_path, tokenizer, speech, jobs_of()):
        made = episode_output(each, speech.end_id)
        assert made.prompt_ids == each.prompt_ids and made.response_ids == each.ids
        assert made.response_mask == list(map(int, each.sampled))
        assert made.log_probs == [-0.5 * own for own in made.response_mask]
        assert made.reward == each.reward
        assert made.extra_fields["turn_scores"] == [turn.reward for turn in each.turns]
        back = recorded_episode(json.loads(made.extra_fields[RECORD]))
        assert json.dumps(episode_record(back)) == json.dumps(episode_record(each))


def test_settings_come_back_as_options(tmp_path):
    from toolrest.engines.common.episodes import recipe_options

    settings = json.loads(json.dumps(episode_settings(CHAINS, tmp_path / "log")))
    wanted = recipe_options(CHAINS)
    assert episode_options(settings) == EpisodeOptions(
        wanted.source,
        "plain",
        wanted.think,
        TurnLimits(wanted.turns.turns, wanted.turns.turn_tokens, wanted.turns.tokens),
        Limits(*(getattr(wanted.limits, name) for name in Limits.__dataclass_fields__)),
        wanted.max_result_tokens,
        wanted.max_prompt_tokens,
    )


def test_seeds_are_of_rows_and_steps_and_heldout_rows_keep_theirs():
    from toolrest.engines.common.episodes import episode_seeds

    assert episode_seed(3, 1, 5, heldout=False) == episode_seed(3, 1, 5, heldout=False)
    assert len({episode_seed(3, s, i, heldout=False) for s in range(9) for i in range(9)}) == 81
    heldout = [episode_seed(3, step, 4, heldout=True) for step in (0, 7)]
    assert heldout == [episode_seeds(3, 10, 1)[4]] * 2


class Crowded:
    """A host whose server has room for so many episodes at once; `others` hold some of it."""

    def __init__(self, room, others=0):
        self.room, self.open, self.others, self.refused = room, 0, others, 0

    def begin(self, row, seed):
        refused = self.open + self.others >= self.room
        self.refused += refused
        self.open += not refused
        return done(Guest(self, self.room if refused else None))

    def forget(self):
        pass


class Guest:
    def __init__(self, host, room):
        self.host, self.room, self.seconds = host, room, 0.0

    def close(self):
        self.host.open -= self.room is None
        return done(None)


def done(value):
    future = Future()
    future.set_result(value)
    return future


@pytest.mark.parametrize(("others", "most"), [(0, 2), (1, 1)])
def test_episodes_wait_for_room_on_a_server(tmp_path, tokenizer, speech, monkeypatch, others, most):
    host = Crowded(2, others)

    async def run():
        worker = EpisodeWorker(told(tmp_path), tokenizer, speech)
        worker.episodes.close()
        worker.episodes.host = host
        seen = []

        async def plays(episode, sample):
            assert episode.room is None
            seen.append(host.open)
            await asyncio.sleep(0.01)

        monkeypatch.setattr(worker, "_play", plays)
        await asyncio.gather(*(worker.play({}, at, None) for at in range(9)))
        return seen

    seen = asyncio.run(asyncio.wait_for(run(), 60))
    assert len(seen) == 9 and max(seen) == most and host.open == 0


def test_where_others_hold_all_room_the_waiting_ends(tmp_path, tokenizer, speech, monkeypatch):
    monkeypatch.setattr(verl_episodes, "_ROOM_SECONDS", 0.3)
    host = Crowded(2, others=2)

    async def run():
        worker = EpisodeWorker(told(tmp_path), tokenizer, speech)
        worker.episodes.close()
        worker.episodes.host = host

        async def plays(episode, sample):
            return episode.room

        monkeypatch.setattr(worker, "_play", plays)
        return await asyncio.gather(*(worker.play({}, at, None) for at in range(3)))

    assert asyncio.run(asyncio.wait_for(run(), 30)) == [(2, 0.0)] * 3


def test_the_generation_configuration_s_ends_are_read_as_on_trl(tmp_path, tokenizer):
    policy = tmp_path / "policy"
    shutil.copytree(policy_path(CHAINS), policy)
    (policy / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 9]}))

    class Model(dict):
        path = str(policy)

    config = SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(model=Model()), toolrest=SimpleNamespace(dialect="rlla")
    )
    assert set(config_speech(config, tokenizer).stop_ids) == {2, 9}
