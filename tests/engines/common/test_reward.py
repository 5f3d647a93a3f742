"""The reward as trainers call it: progress, texts, columns, bytes, and what it keeps."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.rewards.turns import written_turns
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.reward import Asked, ToolReward, totals
from toolrest.errors import InputError

RLLA = get_dialect("rlla")
TRUTH = RLLA.render(thought="", calls=[ToolCall("f", {"a": 1})], response=None)
RIGHT = RLLA.render(thought="t", calls=[ToolCall("f", {"a": 1})], response=None)
WRONG = RIGHT.replace('"a": 1', '"a": 2')
NO_CALL = RLLA.render(thought="t", calls=[], response="r")


def at(step, steps):
    return SimpleNamespace(global_step=step, max_steps=steps)


@pytest.mark.parametrize(
    ("state", "least"),
    [
        (None, -4.0),
        (at(0, 4), -4.0),
        (at(0, 0), -4.0),
        (at(5, 0), -4.0),
        (at(5, -1), -4.0),
        (at(0, 1), -4.0),
    ],
)
def test_without_progress_the_ranges_are_those_of_the_start(state, least):
    reward = ToolReward()
    assert reward([RIGHT], ground_truth=[TRUTH], trainer_state=state) == [4.0]
    [breakdown] = reward.score_batch([RIGHT], [Asked(TRUTH)])
    assert (breakdown.format_reward, breakdown.correctness_reward) == (2.0, 2.0)
    assert reward(["nothing"], ground_truth=[TRUTH], trainer_state=state) == [least]


@pytest.mark.parametrize(("step", "steps", "expected"), [(1, 4, 1.75), (1, 1, 1.0), (3, 4, 1.25)])
def test_the_format_s_reward_follows_the_steps(step, steps, expected):
    reward = ToolReward()
    [found] = reward.score_batch([RIGHT], [Asked(TRUTH)], step / steps)
    assert found.format_reward == pytest.approx(expected)
    assert found.correctness_reward == pytest.approx(4 - expected)
    texts, truths = [WRONG, NO_CALL], [TRUTH] * 2
    given = reward.score_batch(texts, [Asked(TRUTH)] * 2, step / steps)
    rewards = reward(texts, ground_truth=truths, trainer_state=at(step, steps))
    assert rewards == [each.total for each in given]


def test_all_turns_of_a_completion_count_and_a_text_is_itself():
    said = [{"role": "assistant", "content": WRONG}, {"role": "assistant", "content": RIGHT}]
    reward = ToolReward(schedule="constant")
    both, right, wrong = reward([said, RIGHT, said[:1]], ground_truth=[TRUTH] * 3)
    assert (right, wrong) == pytest.approx((4, 2))
    assert wrong < both < right, "a right call after a wrong one is one call too many"


def test_sampled_ids_are_read_by_their_bytes():
    vocabulary = Vocabulary.from_table([RIGHT.encode(), WRONG.encode(), b""])
    turns = [written_turns(ids, None, vocabulary, RLLA, "") for ids in ([0], [2, 1, 2], [])]
    found = ToolReward(schedule="constant").score_batch(turns, [Asked(TRUTH)] * 3)
    assert totals(found) == pytest.approx([4.0, 2.0, -3.0])


def test_what_is_logged_is_the_mean_of_the_parts():
    logged = {}
    reward = ToolReward(schedule="constant")
    texts, truths = [RIGHT, WRONG, NO_CALL, RIGHT], [TRUTH, TRUTH, TRUTH, NO_CALL]
    reward(texts, ground_truth=truths, log_metric=logged.__setitem__)
    assert logged == pytest.approx(
        {
            "reward/exact_match": 1 / 4,
            "reward/format": 2 / 4,
            "reward/correctness": (1 + 2 / 3) / 4,
            "reward/names": 2 / 4,
            "reward/parameters": 2 / 4,
            "reward/values": 1 / 4,
            "reward/over_called": 1 / 4,
        }
    )


def test_replies_that_say_the_same_share_a_breakdown():
    reward = ToolReward(schedule="constant")
    texts = [RIGHT, WRONG, RIGHT.replace(" t ", " u ")]
    one, wrong, other = reward.score_batch(texts, [Asked(TRUTH)] * 3)
    assert one is other and one.exact and not wrong.exact
    with pytest.raises(ValueError, match="shorter"):
        reward.score_batch(texts, [Asked(TRUTH)])


def test_possible_answers_go_with_their_responses():
    acceptable = '[{"f": {"a": [1, 2]}}]'
    reward = ToolReward(schedule="constant", correctness="ast")
    found = reward(
        [WRONG, WRONG, RIGHT],
        ground_truth=[TRUTH] * 3,
        possible_answer=[acceptable, None, acceptable],
    )
    assert found == [4.0, -2.0, 4.0]
    assert reward.score(WRONG, TRUTH, 0.0, acceptable).correctness == 1.0
    assert reward.score(WRONG, TRUTH).correctness == 0.0


def test_correctness_by_name_or_by_weights():
    assert (
        ToolReward().rules.correctness == ToolReward(correctness={"partial": 1}).rules.correctness
    )
    halves = ToolReward(schedule="constant", correctness={"partial": 1.0, "exact": 1.0})
    assert halves.score(WRONG, TRUTH).correctness == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="did you mean 'exact'"):
        ToolReward(correctness="exat")
    with pytest.raises(InputError, match="sum to 0"):
        ToolReward(correctness={"exact": 0.0})


def test_its_name_is_what_trainers_log_it_under():
    assert ToolReward().__name__ == "tool_reward"
    with pytest.raises(InputError, match=r"found \['answers'\]"):
        ToolReward()(completions=["x"], prompts=[1], answers=["y"])


@pytest.mark.parametrize(
    ("schedule", "progress", "correctness", "plain", "worth"),
    [
        # One name of 1 + 1 + 1 parts, then all three; the correctness reaches over 6, 4 and 5.
        ("constant", 0.0, "partial", -2.0, [2.0, 6.0]),
        ("rest", 0.0, "partial", 0.0, [4 / 3, 4.0]),
        ("rest", 0.5, "partial", -1.0, [5 / 3, 5.0]),
        ("constant", 0.0, {"partial": 1.0, "exact": 2.0}, -2.0, [2 / 3, 2.0]),
        ("constant", 0.0, "exact", -2.0, [0.0, 0.0]),
    ],
)
def test_what_decisions_lock_in_by_hand(schedule, progress, correctness, plain, worth):
    reward = ToolReward(schedule=schedule, correctness=correctness)
    found = reward.potentials(RIGHT.encode(), Asked(TRUTH), progress)
    assert found.no_call == pytest.approx(plain)
    assert found.values == pytest.approx(worth)
    assert found.positions == [RIGHT.index('f"') + 1, RIGHT.index("1}") + 1]


def test_where_no_call_is_due_a_call_loses_all_unless_it_is_not_punished():
    found = ToolReward(schedule="constant").potentials(RIGHT.encode(), Asked(NO_CALL), 0.0)
    assert found.no_call == 4.0
    assert found.values == [-6.0, -6.0]
    free = ToolReward(schedule="constant", punish_over_calls=False)
    assert free.potentials(RIGHT.encode(), Asked(NO_CALL), 0.0).values == []
    assert free.potentials(RIGHT.encode(), Asked(NO_CALL), 0.0).no_call == 1.0
    assert free.potentials(RIGHT.encode(), Asked(TRUTH), 0.0).values == pytest.approx([2.0, 6.0])


@given(st.sampled_from(["rest", "constant", "official", "binary"]), st.floats(0, 1))
def test_what_is_locked_in_is_what_a_well_formed_reply_earns(schedule, progress):
    reward = ToolReward(schedule=schedule)
    for text in (RIGHT, WRONG):
        found = reward.potentials(text.encode(), Asked(TRUTH), progress)
        earned = reward.score(text, TRUTH, progress).total
        assert found.no_call + found.values[-1] == pytest.approx(earned)
