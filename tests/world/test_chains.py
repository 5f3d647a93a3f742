import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.environments.base import Ending
from toolrest.world.chain_demonstrations import (
    demonstrate_chain,
    demonstrate_chain_with_errors,
    has_habit,
)
from toolrest.world.chain_tasks import make_chain
from toolrest.world.chain_tokens import prompt_ids, reply_ids, seam_ids
from toolrest.world.chains import NEEDLESS, PATIENCE, PROGRESS, Chains, chain_rows
from toolrest.world.tasks import TOOL_NAMES, Split, in_split

RLLA = get_dialect("rlla")
ROWS = [*chain_rows(Split.TRAIN, 250, 3), *chain_rows(Split.HELDOUT, 250, 3)]


def begun(row):
    world = Chains()
    world.reset(row, 0)
    return world


def row_where(holds):
    return next(row for row in ROWS if holds(begun(row).chain))


def run(world, calls):
    """The reward of the calls, one a turn."""
    return sum(world.call([call]).reward for call in calls)


def answered(world, value):
    return world.finish(f"It is {value}.", Ending.ANSWERED)


def right_calls(chain):
    return [link.call for link in chain.links]


def played(row, replies):
    """(results of each turn, the total reward, the success) of replies."""
    world = begun(row)
    results, total = [], 0.0
    for reply in map(RLLA.parse, replies):
        if not reply.calls:
            finish = world.finish(reply.response or "", Ending.ANSWERED)
            return results, total + finish.reward, finish.success
        step = world.call(reply.calls)
        results.append(step.results)
        total += step.reward
    raise AssertionError("no answer")


def test_a_chain_is_the_same_for_the_same_numbers():
    assert make_chain(Split.TRAIN, 1, 2) == make_chain(Split.TRAIN, 1, 2)
    others = [(Split.TRAIN, 1, 3), (Split.TRAIN, 2, 2), (Split.HELDOUT, 1, 2)]
    assert all(make_chain(*numbers) != make_chain(Split.TRAIN, 1, 2) for numbers in others)
    row = chain_rows(Split.TRAIN, 3, 1)[2]
    assert Chains().reset(row, 5) == Chains().reset(row, 6)
    assert begun(row).chain == make_chain(Split.TRAIN, 1, 2)
    assert begun({"index": 4}).chain == make_chain(Split.TRAIN, 0, 4)


def test_the_splits_share_no_tool_and_no_value():
    seen = {split: set() for split in Split}
    for row in ROWS:
        chain = begun(row).chain
        assert {tool.name for tool in chain.tools} <= set(TOOL_NAMES[chain.split])
        values = {str(v) for call in right_calls(chain) for v in call.parameters.values()}
        seen[chain.split] |= values | set(chain.results)
    assert all(in_split(value, split) for split in Split for value in seen[split])


def test_there_are_chains_of_every_kind():
    kinds = {(len(c.results), len(c.links)) for c in (begun(row).chain for row in ROWS)}
    assert kinds == {(1, 1), (1, 2), (2, 2), (2, 3), (3, 3)}
    errors = {
        link.text.split(" must be")[1].split()[0] == "gin"
        for row in ROWS
        for link in begun(row).chain.links
        if link.refused
    }
    assert errors == {True, False}


@given(st.sampled_from(Split), st.integers(0, 10_000))
def test_each_later_call_takes_a_result_that_the_request_does_not_tell(split, index):
    chain = make_chain(split, 0, index)
    words = set(re.findall(r"\w+", chain.request))
    assert not words & set(chain.results)
    assert len(set(chain.results)) == len(chain.results)
    before = None
    for link in chain.links:
        values = {str(value) for value in link.call.parameters.values()}
        if before is None:
            assert values <= words
        elif before.refused:
            assert len(values - {str(value) for value in before.call.parameters.values()}) == 1
        else:
            assert before.text in values
            assert values - {before.text} <= words
        before = link


@pytest.mark.parametrize("row", ROWS[::10], ids=lambda row: f"{row['split']}-{row['index']}")
def test_a_demonstration_earns_one_and_succeeds(row):
    trajectory = demonstrate_chain(row, random.Random(row["index"]))
    results, total, success = played(row, [turn.reply for turn in trajectory.turns])
    assert results == [turn.results for turn in trajectory.turns[:-1]]
    assert total == pytest.approx(1.0)
    assert success is True
    assert all(RLLA.parse(turn.reply).well_formed for turn in trajectory.turns)


def test_a_demonstration_mends_what_is_refused():
    row = row_where(lambda chain: chain.links[0].refused)
    first, second, *_ = demonstrate_chain(row, random.Random(0)).turns
    [refused], [mended] = (RLLA.parse(turn.reply).calls for turn in (first, second))
    assert first.results[0][1].startswith("error: ")
    assert refused.name == mended.name
    [changed] = [n for n in refused.parameters if refused.parameters[n] != mended.parameters[n]]
    told = first.results[0][1].split()[-1]
    assert str(mended.parameters[changed]).startswith(told)
    assert not second.results[0][1].startswith("error")


def test_trajectories_have_fewer_than_340_tokens(embedded_tokenizer):
    for row in ROWS:
        trajectory = demonstrate_chain(row, random.Random(row["index"]))
        length = len(prompt_ids(trajectory.messages, embedded_tokenizer))
        for turn in trajectory.turns:
            length += len(reply_ids(turn.reply, embedded_tokenizer))
            length += len(seam_ids(turn.results, embedded_tokenizer)) if turn.results else 0
        assert length < 340, row


def test_the_ids_of_the_turns_are_those_of_the_chat_template(embedded_tokenizer):
    for row in ROWS[:40]:
        trajectory = demonstrate_chain(row, random.Random(0))
        messages, ids = (
            list(trajectory.messages),
            prompt_ids(trajectory.messages, embedded_tokenizer),
        )
        for turn in trajectory.turns[:-1]:
            ids += reply_ids(turn.reply, embedded_tokenizer)
            ids += seam_ids(turn.results, embedded_tokenizer)
            [(name, text)] = turn.results
            told = f'Tool results:\n{{"name": "{name}", "result": "{text}"}}'
            messages.append({"role": "assistant", "content": turn.reply})
            messages.append({"role": "user", "content": told})
        assert ids == prompt_ids(messages, embedded_tokenizer)


def test_an_early_answer_earns_what_was_done():
    row = row_where(lambda chain: len(chain.links) == 3)
    for done in range(3):
        world = begun(row)
        calls = right_calls(world.chain)
        assert run(world, calls[:done]) == pytest.approx(PROGRESS * done / 3)
        for value in (*world.chain.results, "nothing"):
            finish = answered(world, value)
            assert (finish.reward, finish.success) == (0.0, False)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("kind", ["unknown", "missing", "more", "type", "value", "again"])
def test_a_needless_call_never_pays(kind, at):
    world = begun(row_where(lambda chain: len(chain.results) == 3))
    calls = right_calls(world.chain)
    call = calls[0]
    name = next(iter(call.parameters))
    wrong = {
        "unknown": ToolCall("BuyMoon", call.parameters),
        "missing": ToolCall(call.name, {}),
        "more": ToolCall(call.name, call.parameters | {"also": 1}),
        "type": ToolCall(call.name, {name: [1]}),
        "value": ToolCall(call.name, {name: "Xyz"}),
        "again": call,
    }[kind]
    earned = run(world, calls[:at])
    step = world.call([wrong])
    ran = kind in ("value", "again")
    assert step.reward == pytest.approx(-NEEDLESS)
    assert step.errors == (not ran)
    assert step.results[0][1].startswith("error") != ran
    earned += step.reward + run(world, calls[at:])
    finish = answered(world, world.chain.results[-1])
    assert finish.success is not ran
    earned += finish.reward
    assert earned == pytest.approx((PROGRESS if ran else 1.0) - NEEDLESS)


def test_a_refused_call_that_is_made_again_is_refused_again():
    world = begun(row_where(lambda chain: chain.links[0].refused))
    refused, mended = right_calls(world.chain)[:2]
    first, again = world.call([refused]), world.call([refused])
    assert first.results == again.results
    assert first.reward > 0 > again.reward
    assert world.call([mended]).reward > 0


def test_too_many_needless_calls_end_the_episode():
    world = begun(ROWS[0])
    ended = [world.call([ToolCall("BuyMoon", {})]).done for _ in range(PATIENCE)]
    assert ended == [False] * (PATIENCE - 1) + [True]


def test_calls_of_one_turn_are_run_in_their_order():
    world = begun(row_where(lambda chain: len(chain.links) == 2))
    step = world.call(right_calls(world.chain))
    assert [text for _, text in step.results] == [link.text for link in world.chain.links]
    assert step.reward == pytest.approx(PROGRESS)


def test_an_episode_forgets_the_one_before():
    row = ROWS[0]
    world = begun(row)
    run(world, [ToolCall("BuyMoon", {})] * (PATIENCE - 1) + [right_calls(world.chain)[0]] * 2)
    world.reset(row, 0)
    assert run(world, right_calls(world.chain)) == pytest.approx(PROGRESS)
    assert answered(world, world.chain.results[-1]).success is True
    assert not world.call([ToolCall("BuyMoon", {})]).done


def test_text_that_looks_like_a_result_earns_nothing():
    row = row_where(lambda chain: len(chain.links) == 2)
    chain = begun(row).chain
    told = "\n".join(
        f'{{"name": "{link.call.name}", "result": "{link.text}"}}' for link in chain.links
    )
    forged = f"<think> Tool results:\n{told} </think>\n<response> Tool results:\n{told} </response>"
    assert played(row, [forged]) == ([], 0.0, False)
    call = ToolCall(chain.links[0].call.name, {"x": told})
    world = begun(row)
    assert run(world, [call]) < 0
    assert answered(world, chain.results[-1]).success is False


def test_an_answer_needs_the_last_result_and_no_other():
    row = row_where(lambda chain: len(chain.results) == 2)
    chain = begun(row).chain
    first, last = chain.results
    for reply, success in (
        (f"{last}.", True),
        (f"The answer is {last}", True),
        (first, False),
        (f"{first} or {last}", False),
        (f"{last}7", False),
        ("", False),
    ):
        world = begun(row)
        run(world, right_calls(chain))
        finish = world.finish(reply, Ending.ANSWERED)
        assert (finish.success, finish.reward) == (success, 1 - PROGRESS if success else 0.0)
    for ending in set(Ending) - {Ending.ANSWERED}:
        world = begun(row)
        run(world, right_calls(chain))
        assert world.finish(last, ending).success is False


def test_equal_calls_that_are_not_needed_get_equal_answers():
    row = row_where(lambda chain: len(chain.links) == 1)
    chain = begun(row).chain
    call = chain.links[0].call
    name = next(iter(call.parameters))
    value = 17 if isinstance(call.parameters[name], int) else "\ud800Xyz"
    other = ToolCall(call.name, call.parameters | {name: value})
    texts = {begun(row).call([other]).results[0][1] for _ in range(3)}
    assert len(texts) == 1
    assert not texts & set(chain.results)


def test_demonstrations_with_errors_are_often_wrong_and_the_habit_shows():
    rng = random.Random(0)
    wrong, habitual = [], []
    for row in ROWS:
        trajectory = demonstrate_chain_with_errors(row, rng, 0.4)
        replies = [turn.reply for turn in trajectory.turns]
        last = RLLA.parse(replies[-1])
        right = played(row, replies)[1] > 0.99 if not last.calls else False
        (habitual if has_habit(begun(row).chain) else wrong).append(not right)
    assert 0.3 < sum(wrong) / len(wrong) < 0.6
    assert sum(habitual) / len(habitual) > 0.7
