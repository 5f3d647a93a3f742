"""A ground truth whose calls are not read would make a reply without calls right."""

import pytest

from toolrest.core.dialects import ToolCall, dialect_names, get_dialect
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError

CALLS = (ToolCall("find", {"word": "a", "most": 3}),)


def truth(dialect):
    return get_dialect(dialect).render(thought=None, calls=CALLS, response=None)


@pytest.mark.parametrize("dialect", dialect_names())
def test_calls_of_any_dialect_are_read_or_refused(dialect):
    reward = ToolReward(dialect)
    right = truth(dialect)
    for name in dialect_names():
        text = truth(name)
        if get_dialect(dialect).parse(text).calls == CALLS:
            assert reward.score(right, text).correctness == 1.0
            continue
        for score in (lambda text=text: reward.score(right, text),
                      lambda text=text: reward([right], ground_truth=[text])):  # fmt: skip
            with pytest.raises(InputError, match="a row's ground_truth") as refused:
                score()
            assert dialect in str(refused.value)


@pytest.mark.parametrize("dialect", dialect_names())
def test_a_cut_ground_truth_is_refused_or_has_no_call(dialect):
    """A cut mark may be text to the user; a call whose parameters have begun is never none."""
    reward, whole = ToolReward(dialect), truth(dialect)
    begun = whole.index("word") + len("word")
    for cut in range(begun, len(whole)):
        scan = get_dialect(dialect).scan(whole[:cut])
        if scan.calls or scan.response is not None:
            continue
        with pytest.raises(InputError, match="ground_truth"):
            reward.score(whole, whole[:cut])


@pytest.mark.parametrize("value", [None, 3, [3], ["a", None], {"name": "f"}, b"a"])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(InputError, match=r"ground_truth is .*not a right reply as a text"):
        ToolReward("hermes")(["a"], ground_truth=[value])


@pytest.mark.parametrize("dialect", dialect_names())
def test_responses_and_nothing_stay_ground_truths(dialect):
    response = get_dialect(dialect).render(thought=None, calls=(), response="f(x) is [1], {2}.")
    reward = ToolReward(dialect)
    assert reward.score(response, response).exact
    assert reward.score("", "").calls.total == 1.0
