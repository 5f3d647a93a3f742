"""A rollout against a decomposed dialogue: hand-computed rewards, by constant ranges.

A reply earns from -3 (no format, nothing right) to 4 (format 1, correctness 3); a call of the right
tool and parameter with a wrong value has S_acc = (1 + 1 + 0) / 3, so it earns 1 - 3 + 6 * 2/3 = 2.
"""

import itertools

import pytest

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.rewards import RewardRules, get_schedule, score_reply
from toolrest.core.rewards.dialogue import score_dialogue
from toolrest.core.rewards.turns import written_turns
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError

RLLA = get_dialect("rlla")
RULES = RewardRules(get_schedule("constant"))
BYTES = Vocabulary.from_table([bytes([byte]) for byte in range(256)])


def call(name, value):
    return RLLA.render(thought="t", calls=(ToolCall(name, {"x": value}),), response=None)


def answer(text):
    return RLLA.render(thought="t", calls=(), response=text)


FIND, PAY, SAID = call("find", "a"), call("pay", "b"), answer("done")
TRUTHS = (FIND, PAY, SAID)
WRONG = call("pay", "c")
OTHER = call("other", "z")
BROKEN = "<think> t"
TABLE = [
    # turns, what a needless turn costs, total, turns' shares, the steps they made, missed
    ([FIND, PAY, SAID], 0.0, 4.0, [4, 4, 4], [0, 1, 2], 0),
    ([FIND, WRONG, SAID], 0.0, 10 / 3, [4, 2, 4], [0, 1, 2], 0),
    # a needless turn costs nothing, or what is said; those after it still make their steps
    ([FIND, OTHER, PAY, SAID], 0.0, 4.0, [4, None, 4, 4], [0, None, 1, 2], 0),
    ([FIND, OTHER, PAY, SAID], 0.5, 3.5, [4, None, 4, 4], [0, None, 1, 2], 0),
    ([FIND, FIND, PAY, PAY, SAID], 0.5, 3.0, [4, None, 4, None, 4], [0, None, 1, None, 2], 0),
    # a turn that was mended: the wrong one is needless
    ([FIND, WRONG, PAY, SAID], 0.25, 3.75, [4, None, 4, 4], [0, None, 1, 2], 0),
    # an answer too early: two steps are made, and one earns the least
    ([FIND, SAID], 0.5, (4 + 4 - 3) / 3, [4, 4], [0, 2], 1),
    ([], 0.5, -3.0, [], [], 3),
    # a call in place of the answer: format 0 and the least correctness
    ([FIND, PAY, OTHER], 0.0, (4 + 4 - 3) / 3, [4, 4, -3], [0, 1, 2], 0),
    # what cannot be read
    ([BROKEN, PAY, SAID], 0.0, (-3 + 4 + 4) / 3, [-3, 4, 4], [0, 1, 2], 0),
]


@pytest.mark.parametrize(("turns", "cost", "total", "shares", "steps", "missed"), TABLE)
def test_by_hand(turns, cost, total, shares, steps, missed):
    scans = [RLLA.read(turn) for turn in turns]
    truths = [RLLA.scan(truth) for truth in TRUTHS]
    found = score_dialogue(scans, truths, RULES, needless_turn=cost)
    part = found.breakdown
    assert part.total == pytest.approx(total)
    assert part.total == pytest.approx(part.format_reward + part.correctness_reward)
    expected = [-cost if share is None else share / 3 for share in shares]
    assert list(found.turns) == pytest.approx(expected)
    assert (list(found.steps), found.missed) == (steps, missed)
    assert part.total == pytest.approx(sum(found.turns) - missed * 3 / 3)
    assert part.exact == (turns == [FIND, PAY, SAID])
    needless = [turn for turn, step in zip(turns, steps, strict=True) if step is None]
    called_for_answer = OTHER in turns[2:3] and len(turns) == 3
    assert part.over_called == (bool(needless) or called_for_answer)


def test_one_step_and_one_turn_are_a_single_reply():
    for text, truth in itertools.product((FIND, WRONG, SAID, BROKEN), (PAY, SAID)):
        turn, owed = RLLA.read(text), RLLA.scan(truth)
        assert score_dialogue([turn], [owed], RULES).breakdown == score_reply(turn, owed, RULES)


def test_turns_make_steps_so_that_they_earn_the_most():
    """Against all ways to match turns and steps in order."""
    texts = (FIND, PAY, WRONG, SAID, OTHER)
    truths = [RLLA.scan(truth) for truth in TRUTHS]
    for count in (2, 4):
        for turns in itertools.product(texts, repeat=count):
            scans = [RLLA.read(turn) for turn in turns]
            pairs = min(count, len(truths))
            best = max(
                sum(
                    score_reply(scans[t], truths[k], RULES).total
                    for k, t in zip(ks, ts, strict=True)
                )
                for ks in itertools.combinations(range(len(truths)), pairs)
                for ts in itertools.combinations(range(count), pairs)
            )
            missed = len(truths) - pairs
            found = score_dialogue(scans, truths, RULES).breakdown.total
            assert found == pytest.approx((best - 3 * missed) / len(truths))


def test_a_silent_step_is_missed_and_not_made_right():
    """Where no call is due, saying nothing is no right reply."""
    truths = [RLLA.scan(FIND), RLLA.scan(SAID)]
    found = score_dialogue([RLLA.read(FIND)], truths, RULES)
    assert found.breakdown.total == pytest.approx((4 - 3) / 2) and found.missed == 1


def rollout(parts):
    """(ids, mask) of texts that the policy wrote (True) or read (False)."""
    ids, mask = [], []
    for text, own in parts:
        ids += list(text.encode())
        mask += [own] * len(text.encode())
    return ids, mask


def test_what_a_tool_says_is_never_read():
    """Neither a right call in a result, nor a broken one, moves the reward by a bit."""
    reward = ToolReward("rlla", "constant", needless_turn=0.5)
    asked = Asked(TRUTHS)
    totals = set()
    for said in ("\nfound\n", PAY, FIND + SAID, "<tool_call>\n{", ""):
        ids, mask = rollout([(FIND, True), (said or "\n", False), (SAID, True)])
        turns = written_turns(ids, mask, BYTES, reward.dialect, "")
        totals.add(reward.score_batch([turns], [asked])[0].total)
    (total,) = totals
    assert total == pytest.approx((4 + 4 - 3) / 3)
    honest, mask = rollout([(FIND, True), ("\n", False), (PAY, True), ("\n", False), (SAID, True)])
    turns = written_turns(honest, mask, BYTES, reward.dialect, "")
    assert reward.score_batch([turns], [asked])[0].exact


def test_messages_and_texts_are_scored_alike():
    reward = ToolReward("rlla", "constant", needless_turn=0.5)
    function = {"name": "find", "arguments": {"x": "a"}}
    messages = [
        {"role": "assistant", "reasoning_content": "t", "tool_calls": [{"function": function}]},
        {"role": "tool", "content": PAY},
        {"role": "assistant", "content": OTHER},
        {"role": "assistant", "content": SAID},
    ]
    ids, mask = rollout([(FIND, True), (PAY, False), (OTHER, True), ("\n", False), (SAID, True)])
    turns = written_turns(ids, mask, BYTES, reward.dialect, "")
    found = reward.score_batch([messages, turns], [Asked(TRUTHS)] * 2)
    assert found[0].total == pytest.approx(found[1].total)
    assert reward([messages], ground_truth=[list(TRUTHS)]) == [pytest.approx(found[1].total)]


@pytest.mark.parametrize(
    ("truth", "options", "said"),
    [
        ([], {}, "an empty list"),
        ([FIND, 3], {}, "ground_truth is int"),
        ([FIND], {"possible_answer": ["{}"]}, "a possible_answer, which is of one reply"),
        (FIND, {"needless": 1.0}, "needless_turn=1 is for ground truths that are lists"),
    ],
)
def test_what_cannot_be_scored_turn_by_turn_is_refused(truth, options, said):
    reward = ToolReward(needless_turn=options.pop("needless", 0.0))
    with pytest.raises(InputError) as refused:
        reward([FIND], ground_truth=[truth], **options)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_credit_by_spans_is_of_one_reply():
    with pytest.raises(InputError, match="credit by spans reads one reply"):
        ToolReward().potentials(FIND.encode(), Asked(TRUTHS), 0.0)


@pytest.mark.parametrize("cost", [-1, float("nan"), float("inf")])
def test_a_needless_turn_never_pays(cost):
    with pytest.raises(InputError, match="needless_turn"):
        ToolReward(needless_turn=cost)
