"""Training in an environment: what must hold whatever the environment is."""

import math
import time

import pytest
import torch
from acting import CHAINS, SOURCES, act, acting_settings, parameters
from datasets import Dataset
from environments.processes import all_gone
from environments.sources import one_turn
from trl import GRPOConfig, GRPOTrainer

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.turns import turn_numbers
from toolrest.data.prompts import render_chat
from toolrest.engines.common.episodes import Episodes, recipe_options
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.environments.base import Start
from toolrest.errors import InputError
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import load_recipe
from toolrest.rollout.seams import first_prompt
from toolrest.world.chains import chain_rows
from toolrest.world.tasks import Split, make_samples

TIMED = ("time", "runtime", "per_second", "flos")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHAINS)


@pytest.fixture(scope="module")
def speech(tokenizer):
    return read_speech(tokenizer, get_dialect("rlla"))


def assert_bitwise_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def assert_moved(trainer):
    start = dict(load_policy(CHAINS).state_dict())
    now = parameters(trainer)
    assert any(not torch.equal(start[name], now[name]) for name in start)


def logged(trainer):
    """What each step logged, but for clocks."""
    return [
        {key: value for key, value in entry.items() if not any(word in key for word in TIMED)}
        for entry in trainer.state.log_history
        if "reward" in entry
    ]


@pytest.mark.parametrize("weighting", ["rest", pytest.param("uniform", marks=pytest.mark.slow)])
def test_one_turn_trains_as_single_steps_bitwise(tmp_path, tokenizer, speech, weighting):
    samples = make_samples(Split.TRAIN, 8)
    rows = [{"prompt": [dict(m) for m in each.prompt]} for each in samples]
    most = 96
    acted, batches = act(
        tmp_path,
        Dataset.from_list(rows),
        f"{SOURCES / 'one_turn.py'}:OneTurn",
        weighting=weighting,
        max_completion_length=most,
        max_turn_tokens=None,
        record_entropies=True,
    )

    def earned(completion_ids, **columns):
        found = []
        for ids in completion_ids:
            scan = speech.dialect.read(speech.vocabulary.text(ids))
            if ids[-1] not in speech.stop_ids:
                found.append(one_turn.CUT)
            elif scan.calls and scan.calls_intact:
                found.append(one_turn.worth(scan.calls))
            elif scan.calls or scan.status.name == "BAD_CALL":
                found.append(one_turn.BROKEN)
            else:
                found.append(one_turn.ANSWERED)
        return found

    for row in rows:
        prompt = first_prompt(Start(tuple(row["prompt"])), "plain", speech)
        row["prompt_ids"] = render_chat(prompt, tokenizer)
    plain = ResTTrainer(
        model=load_policy(CHAINS),
        processing_class=tokenizer,
        reward_funcs=[earned],
        train_dataset=Dataset.from_list(rows),
        args=ResTConfig(
            **acting_settings(
                tmp_path,
                weighting=weighting,
                max_completion_length=most,
                max_turn_tokens=None,
                record_entropies=True,
            )
        ),
        rollout_func=shared_prefix_rollout,
    )
    plain.train()
    rewards = [each.reward for batch in batches for each in batch.episodes.trajectories]
    assert len(set(rewards)) > 2
    assert_moved(plain)
    assert_bitwise_equal(parameters(plain), parameters(acted))
    for one, other in zip(logged(plain), logged(acted), strict=True):
        own = [key for key in one if not key.startswith("rewards/")]
        assert "entropy/format" in own and "loss" in own
        assert {key: one[key] for key in own} == {key: other[key] for key in own}


@pytest.mark.parametrize("loss_type", ["grpo", pytest.param("dapo", marks=pytest.mark.slow)])
def test_uniform_weights_are_trl_s_own_on_the_same_trajectories(tmp_path, tokenizer, loss_type):
    ours, batches = act(tmp_path, weighting="uniform", loss_type=loss_type)
    played = [batch.episodes.trajectories for batch in batches]
    assert any(len(each.turns) > 1 for each in played[0])
    left = list(played)

    def replay(prompts, trainer):
        torch.randint(2**62, ())  # as many numbers of the global generator as ours has used
        trajectories = left.pop(0)
        return {
            "prompt_ids": [each.prompt_ids for each in trajectories],
            "completion_ids": [each.ids for each in trajectories],
            "env_mask": [list(map(int, each.sampled)) for each in trajectories],
            "logprobs": None,
            "earned": [each.reward for each in trajectories],
        }

    options = acting_settings(tmp_path, loss_type=loss_type)
    for key in ("max_turn_tokens", "max_turns"):
        del options[key]
    theirs = GRPOTrainer(
        model=load_policy(CHAINS),
        processing_class=tokenizer,
        reward_funcs=[lambda earned, **columns: earned],
        train_dataset=ours.train_dataset,
        args=GRPOConfig(**options),
        rollout_func=replay,
    )
    theirs.train()
    assert left == []
    assert_moved(ours)
    assert_bitwise_equal(parameters(ours), parameters(theirs))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{}, {"credit": "turns", "weighting": "rest*stare"}],
)
def test_a_resumed_run_is_a_straight_run_bitwise(tmp_path, more):
    options = {"save_strategy": "steps", "save_steps": 1} | more
    straight, one = act(tmp_path, **options)
    resumed, other = act(tmp_path, resume=str(tmp_path / "checkpoint-1"), **options)
    assert resumed.state.global_step == 2
    assert [each.step for each in other] == [1]
    played = [each.episodes.trajectories for each in (one[1], other[0])]
    assert [(t.ids, t.turns) for t in played[0]] == [(t.ids, t.turns) for t in played[1]]
    assert_moved(straight)
    assert_bitwise_equal(parameters(straight), parameters(resumed))


def turn_sums(batch):
    """(sum of the weights, tokens) of each turn of each row."""
    numbers = turn_numbers(batch.mask)
    for row in range(len(numbers)):
        for turn in range(int(numbers[row].max()) + 1):
            chosen = numbers[row] == turn
            yield batch.weights[row][chosen].sum().item(), int(chosen.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    "weighting",
    ["rest", "official", "rest*stare"],
)
def test_weights_of_each_turn_sum_to_its_tokens(tmp_path, weighting):
    _, batches = act(tmp_path / "turn", weighting=weighting)
    found = [each for batch in batches for each in turn_sums(batch)]
    assert len(found) > sum(len(batch.mask) for batch in batches)
    for total, count in found:
        assert total == pytest.approx(count, rel=1e-4)
    _, batches = act(tmp_path / "whole", weighting=weighting, normalise="trajectory", max_steps=1)
    for batch in batches:
        assert torch.allclose(batch.weights.sum(1), batch.mask.sum(1).float(), rtol=1e-4)
        assert (batch.weights[~batch.mask] == 0).all()
    uneven = [total / count for batch in batches for total, count in turn_sums(batch)]
    assert max(uneven) - min(uneven) > 0.01


@pytest.mark.parametrize("discount", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_turns_credit_a_token_with_what_its_own_and_later_turns_earn(tmp_path, discount):
    class Spy(ResTTrainer):
        def _turns_to_go(self, mask, rewards):
            credits.append(super()._turns_to_go(mask, rewards))
            return credits[-1]

    credits = []
    _, batches = act(
        tmp_path, kind=Spy, credit="turns", credit_discount=discount, scale_rewards="none"
    )
    size, several = 4, 0
    for batch, found in zip(batches, credits, strict=True):
        played = batch.episodes.trajectories
        numbers = turn_numbers(batch.mask)
        earned = [[turn.reward for turn in each.turns] for each in played]
        several += any(len(set(map(len, earned[at : at + size]))) > 1 for at in (0, size))

        def to_go(row, turn, earned=earned):
            left = earned[row][turn:] or earned[row][-1:]
            return sum(reward * discount**later for later, reward in enumerate(left))

        for row in range(len(played)):
            group = range(row - row % size, row - row % size + size)
            for turn in range(len(earned[row])):
                mean = sum(to_go(other, turn) for other in group) / size
                mine = found[row][numbers[row] == turn]
                assert mine.tolist() == pytest.approx([to_go(row, turn) - mean] * len(mine))
    assert several


FAILURES = [
    ("reset", "raise"),
    ("call", "hang"),
    ("call", "raise"),
    ("finish", "raise"),
    ("reset", "exit"),
    ("finish", "sys.exit"),
    ("call", "big"),
]


def failing(tmp_path, where, how, every=1, count=8):
    """Rows whose environment fails."""
    told = {"where": where, "how": how, "every": every, "pids": str(tmp_path / "pids")}
    prompt = [{"role": "user", "content": ""}]
    rows = chain_rows(Split.TRAIN, count)
    return Dataset.from_list([{"prompt": prompt, **row, **told} for row in rows])


FAILING = f"{SOURCES / 'training.py'}:Failing"


@pytest.mark.slow
@pytest.mark.parametrize(("where", "how"), FAILURES)
def test_a_step_of_failed_episodes_alone_moves_nothing(tmp_path, caplog, where, how):
    began = time.monotonic()
    trainer, batches = act(
        tmp_path,
        failing(tmp_path, where, how),
        FAILING,
        call_timeout=60 if how == "big" else 0.5,  # ten megabytes take their time
        max_steps=1,
        loss_type="dapo" if how == "raise" else "grpo",
        credit="turns" if where == "call" else "response",
    )
    assert time.monotonic() - began < 60
    failed = [each.failure is not None for each in batches[0].episodes.trajectories]
    if how == "big":
        assert not any(failed)
        return
    entry = trainer.state.log_history[0]
    assert entry["ending/failed"] == sum(failed) / len(failed) > 0
    if all(failed):
        assert_bitwise_equal(parameters(trainer), dict(load_policy(CHAINS).state_dict()))
        assert "step 1: all 8 episodes failed" in caplog.text
        assert "reward" not in entry
    assert not any(math.isnan(x) for x in entry.values() if isinstance(x, float))
    (said,) = [each.getMessage() for each in caplog.records if "episodes failed" in each.msg]
    assert "Failing" in said and "\n" not in said
    trainer.acts.episodes.close()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert pids and all_gone(pids)


@pytest.mark.slow
@pytest.mark.parametrize("credit", ["response", "turns"])
def test_the_others_of_a_group_are_as_if_the_failed_were_not_there(tmp_path, credit):
    rows = failing(tmp_path, "finish", "raise", every=3)
    _, batches = act(tmp_path, rows, FAILING, credit=credit, max_steps=1)
    mixed = 0
    for batch in batches:
        rewards = [each.reward for each in batch.episodes.trajectories]
        for start in range(0, len(rewards), 4):
            group = range(start, start + 4)
            known = [row for row in group if rewards[row] is not None]
            mixed += 0 < len(known) < 4
            for row in group:
                if rewards[row] is None:
                    assert batch.advantages[row] == 0
            if len(known) > 1:
                values = torch.tensor([rewards[row] for row in known])
                expected = (values - values.mean()) / (values.std() + 1e-4)
                assert batch.advantages[known].tolist() == pytest.approx(
                    expected.tolist(), abs=1e-5
                )
    assert mixed


def test_another_reward_does_not_bring_a_failed_episode_back(tmp_path):
    trainer, batches = act(
        tmp_path,
        failing(tmp_path, "reset", "raise"),
        FAILING,
        given={"reward_funcs": [lambda turns, **columns: [float(len(each)) for each in turns]]},
        max_steps=1,
    )
    assert (batches[0].advantages == 0).all()
    assert_bitwise_equal(parameters(trainer), dict(load_policy(CHAINS).state_dict()))


def test_a_failure_stops_the_run_where_it_is_asked_to(tmp_path):
    rows = failing(tmp_path, "call", "raise")
    with pytest.raises(InputError, match="Failing: call raised ValueError: no such account") as e:
        act(tmp_path, rows, FAILING, environment_failure="stop")
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_text_of_tools_changes_neither_labels_nor_rewards(tmp_path):
    _, batches = act(
        tmp_path, None, f"{SOURCES / 'training.py'}:Imitating", max_completion_length=900
    )
    vocabulary = read_speech(load_tokenizer(CHAINS), get_dialect("rlla")).vocabulary
    calls = 0
    for batch in batches:
        for row, trajectory in enumerate(batch.episodes.trajectories):
            ids, numbers = batch.completion_ids[row], turn_numbers(batch.mask[row : row + 1])[0]
            for number, turn in enumerate(trajectory.turns):
                mine = numbers == number
                alone = label_tokens(
                    ids[mine][None],
                    torch.ones(1, int(mine.sum()), dtype=torch.bool),
                    vocabulary,
                    get_dialect("rlla"),
                    openings=[""],
                )[0]
                assert torch.equal(batch.regions[row][mine], alone)
                named = ids[mine][alone == Region.NAME].tolist()
                said = vocabulary.text(named)
                assert [c.name for c in turn.calls if c.name not in said] == []
                assert [name for name, _ in turn.results] == [c.name for c in turn.calls]
                calls += len(turn.calls)
            assert trajectory.failure is None
            assert not any(c.name == "Pay" for turn in trajectory.turns for c in turn.calls)
    assert calls > 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"prefix_sharing": "on", "micro_tokens": 900},
        {"prefix_sharing": "on"},
        {"prefix_sharing": "on", "num_iterations": 2, "steps_per_generation": 2},
        {"prefix_sharing": "off", "micro_tokens": 900},
    ],
)
def test_however_forwards_are_cut_the_parameters_are_the_same(tmp_path, more):
    split = {
        key: value for key, value in more.items() if key not in ("prefix_sharing", "micro_tokens")
    }
    plain, one = act(tmp_path, learning_rate=1e-5, prefix_sharing="off", **split)
    other, two = act(tmp_path, learning_rate=1e-5, credit="response", **more)
    played = [
        [each.ids for b in batches for each in b.episodes.trajectories] for batches in (one, two)
    ]
    assert played[0][:8] == played[1][:8]
    assert any(len(each.turns) > 1 for each in one[0].episodes.trajectories)
    start = dict(load_policy(CHAINS).state_dict())
    a, b = parameters(plain), parameters(other)
    moved = max((a[name] - start[name]).abs().max().item() for name in a)
    apart = max((a[name] - b[name]).abs().max().item() for name in a)
    assert moved > 1e-5
    assert apart < 2e-6


@pytest.mark.slow
def test_kept_caches_are_exact(tmp_path):
    trainer, batches = act(tmp_path, max_turns=8)
    assert max(len(each.turns) for each in batches[0].episodes.trajectories) > 2
    for entry in trainer.state.log_history[:2]:
        assert entry["sampling/sampling_logp_difference/max"] < 1e-4


@pytest.mark.slow
def test_adapters_are_trained(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer, _ = act(tmp_path, given={"peft_config": config}, max_steps=1)
    assert any(
        "lora_B" in name and value.abs().max() > 0 for name, value in parameters(trainer).items()
    )
    assert trainer.state.log_history[0]["sampling/sampling_logp_difference/max"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "kept"), [("generate", False), ("shared_prefix", True)])
def test_any_sampler_plays_and_the_recipe_s_is_taken(tmp_path, tokenizer, speech, sampler, kept):
    """One keeps caches and tells the tokens' statistics, one samples each turn after all ids."""
    recipe = load_recipe(
        None,
        [
            *("environment.source=world", f"rollout.sampler={sampler}", "data.prompt=plain"),
            *("environment.max_turns=4", "rollout.max_response_tokens=96"),
        ],
    )
    with Episodes(recipe_options(recipe), tokenizer, speech) as episodes:
        trainer, batches = act(
            tmp_path,
            None,
            episodes,
            max_steps=1,
            max_completion_length=2048,
            record_entropies=True,
        )
    told = "sampling/sampling_logp_difference/max" in trainer.state.log_history[0]
    assert told == kept
    for batch in batches:  # those that the weights are made of
        assert batch.entropies[batch.mask].mean() > 0.01
    for batch in batches:
        for each in batch.episodes.trajectories:
            assert each.failure is None and each.ending is not None
            assert len(each.ids) == len(each.sampled)
        totals = [total - count for total, count in turn_sums(batch)]
        assert max(map(abs, totals)) < 0.01
    assert any(len(each.turns) > 1 for each in batches[0].episodes.trajectories)
