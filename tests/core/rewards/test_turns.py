"""What counts as the policy's reply: from where the prompt left off, and nothing of a tool's."""

import json

import pytest

from toolrest.core.dialects import ParseStatus, ToolCall, dialect_names, get_dialect
from toolrest.core.rewards.turns import one_reply, written_turns
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.errors import InputError

BYTES = Vocabulary.from_table([bytes([byte]) for byte in range(256)])
THINKS = [name for name in dialect_names() if get_dialect(name).opening("assistant\n<think>\n")]
CALL = ToolCall("f", {"x": "a"})
TOOLS = [{"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}]


def right(name, thought=None):
    return get_dialect(name).render(thought=thought, calls=(CALL,), response=None, tools=TOOLS)


@pytest.mark.parametrize("name", THINKS)
@pytest.mark.parametrize("thought", [None, ""])
def test_a_thought_that_the_prompt_begins_is_asked_for(name, thought):
    """Whether or not the ground truth has one; an unclosed one is no answer."""
    reward = ToolReward(name, "constant")
    truth, prompt = right(name, thought), "<|im_start|>assistant\n<think>\n"
    dialect = get_dialect(name)
    good = dialect.continued(right(name, "I go."), "<think>\n", TOOLS)
    assert not good.startswith("<think>")
    found = reward.score(good, truth, prompt=prompt, tools=TOOLS)
    assert (found.total, found.format, found.exact) == (4.0, 1.0, True)
    cut = reward.score("I should think about how", truth, prompt=prompt, tools=TOOLS)
    assert (cut.status, cut.format, cut.exact) == (ParseStatus.UNCLOSED, 0.0, False)
    assert cut.correctness == 0.0


def test_an_unclosed_thought_is_no_response():
    """The report: it earned full marks."""
    reward = ToolReward("qwen_xml", "constant", opening="<think>\n")
    cut = reward.score("The user greets me, so I should think about how to", "Hello!")
    assert (cut.status, cut.format, cut.exact) == (ParseStatus.UNCLOSED, 0.0, False)
    whole = reward.score("The user greets me, so say hello.\n</think>\n\nHello!", "Hello!")
    assert (whole.total, whole.format, whole.exact) == (4.0, 1.0, True)


def test_a_thought_that_the_prompt_has_ended_is_not_asked_for():
    reward = ToolReward("hermes", "constant")
    prompt = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    for thought in (None, ""):
        assert reward.score(right("hermes"), right("hermes", thought), prompt=prompt).exact


def test_each_row_is_read_after_its_own_prompt():
    reward = ToolReward("hermes", "constant")
    texts = ["Hi!", "so.\n</think>\n\nHi!", "Hi!"]
    prompts = ["assistant\n", "assistant\n<think>\n", "assistant\n<think>\n"]
    totals = [4.0, 4.0, 3.0]
    assert reward(completions=texts, ground_truth=["Hi!"] * 3, prompts=prompts) == totals
    asked = [Asked("Hi!", opening) for opening in ("", "<think>\n", "<think>\n")]
    turns = [
        written_turns(list(text.encode()), None, BYTES, reward.dialect, each.opening)
        for text, each in zip(texts, asked, strict=True)
    ]
    for completions in (texts, turns):
        assert [each.total for each in reward.score_batch(completions, asked)] == totals


ONE = {"type": "function", "function": {"name": "f", "arguments": {"x": "a"}}}
AS_TEXT = {"function": {"name": "f", "arguments": '{"x": "a"}'}}


@pytest.mark.parametrize(
    ("message", "total"),
    [
        ({"content": "", "tool_calls": [ONE]}, 4.0),
        ({"tool_calls": [ONE]}, 4.0),
        ({"content": None, "tool_calls": [AS_TEXT]}, 4.0),
        ({"content": [{"type": "text", "text": ""}], "tool_calls": [ONE]}, 4.0),
        ({"content": "I look.", "tool_calls": [ONE]}, 3.0),
        ({"content": None, "tool_calls": [ONE, ONE]}, None),
        ({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, -2.0),
        ({"content": None, "tool_calls": [{"function": {"name": "g", "arguments": {}}}]}, None),
        ({"content": right("hermes")}, 4.0),
        ({"content": "", "tool_calls": []}, -3.0),
        ({"content": None}, -3.0),
        ({}, -3.0),
    ],
)
def test_messages_whose_calls_a_trainer_has_read(message, total):
    reward = ToolReward("hermes", "constant")
    completion = [{"role": "assistant", **message}]
    (found,) = reward(completions=[completion], ground_truth=[right("hermes")])
    assert -3.0 <= found < 4.0 if total is None else found == total


def test_thoughts_of_messages():
    reward = ToolReward("hermes", "constant")
    truth = right("hermes", "")
    with_thought = [{"role": "assistant", "reasoning_content": "I go.", "tool_calls": [ONE]}]
    without = [{"role": "assistant", "tool_calls": [ONE]}]
    assert reward(completions=[with_thought, without], ground_truth=[truth] * 2) == [4.0, 3.0]
    (found,) = reward.score_batch([without], [Asked(right("hermes"), "<think>\n")])
    assert found.total == 4.0


def test_a_thought_apart_from_a_text_that_calls():
    """A trainer that has taken the thought out and left the call in the content."""
    reward = ToolReward("hermes", "constant")
    truth = right("hermes", "")
    apart = [{"role": "assistant", "reasoning_content": "I go.", "content": right("hermes")}]
    both = [{"role": "assistant", "reasoning_content": "I go.", "content": right("hermes", "So.")}]
    without = [{"role": "assistant", "content": right("hermes")}]
    completions = [apart, both, without]
    assert reward(completions=completions, ground_truth=[truth] * 3) == [4.0, 4.0, 3.0]


def test_text_in_parts_counts_as_one_text():
    reward = ToolReward("hermes", "constant")
    text = right("hermes")
    parts = [{"type": "text", "text": text[:9]}, {"type": "image"}, {"type": "text", "text": None}]
    completion = [{"role": "assistant", "content": [*parts, {"type": "text", "text": text[9:]}]}]
    assert reward(completions=[completion], ground_truth=[text]) == [4.0]


@pytest.mark.parametrize(
    "call",
    [
        *({"name": 5, "arguments": {"x": "a"}}, {"name": "f", "arguments": ["x"]}),
        *({"name": "f"}, {"arguments": {"x": "a"}}, {"name": "f", "arguments": "{"}, 5, None),
    ],
)
def test_a_call_that_is_none_is_a_bad_one(call):
    reward = ToolReward("hermes", "constant")
    completion = [{"role": "assistant", "tool_calls": [ONE, {"function": call}]}]
    (found,) = reward.score_batch([completion], [Asked(right("hermes"))])
    assert (found.status, found.exact) == (ParseStatus.BAD_CALL, False)


@pytest.mark.parametrize(
    ("completion", "words"),
    [
        (5, "a completion is int"),
        ([5], "neither a text nor a list of messages"),
        ([], "no message of the assistant"),
        ([{"role": "tool", "content": right("hermes")}], "no message of the assistant"),
        ([{"role": "assistant", "content": 5}], "content is int"),
        ([{"role": "assistant", "tool_calls": "f"}], "tool_calls is str"),
    ],
)
def test_what_is_no_completion_is_refused(completion, words):
    with pytest.raises(InputError, match=words):
        ToolReward("hermes")(completions=[completion], ground_truth=[right("hermes")])


def test_what_a_tool_says_earns_nothing():
    """Its result holds the right call; the mask says that the policy did not write it."""
    reward = ToolReward("hermes", "constant")
    wrong = get_dialect("hermes").render(thought=None, calls=(ToolCall("g", {}),), response=None)
    result = f"\n<result>{right('hermes')}</result>\nassistant\n"
    done = "Done."
    text = wrong + result + done
    mask = [*[True] * len(wrong), *[False] * len(result), *[True] * len(done)]
    as_messages = [
        {"role": "assistant", "tool_calls": [{"function": {"name": "g", "arguments": {}}}]},
        {"role": "tool", "content": right("hermes")},
        {"role": "assistant", "content": done},
    ]
    (by_messages,) = reward(completions=[as_messages], ground_truth=[right("hermes")])
    turns = written_turns(list(text.encode()), mask, BYTES, reward.dialect, "")
    (by_ids,) = reward.score_batch([turns], [Asked(right("hermes"))])
    assert by_ids.total == by_messages == reward.score(wrong, right("hermes")).total < 0


def test_the_calls_of_all_turns_count():
    """And a response after the results is not owed by a truth of calls."""
    dialect = get_dialect("hermes")
    both = dialect.render(thought=None, calls=(CALL, ToolCall("g", {})), response=None)
    first, second = (
        right("hermes"),
        dialect.render(thought=None, calls=(ToolCall("g", {}),), response=None),
    )
    between = "<result>1</result>"
    text = first + between + second + between + "All done."
    mask = [
        *[True] * len(first),
        *[False] * len(between),
        *[True] * len(second),
        *[False] * len(between),
        *[True] * len("All done."),
    ]
    turns = written_turns(list(text.encode()), mask, BYTES, dialect, "")
    assert turns == (first, second, "All done.")
    reward = ToolReward("hermes", "constant")
    answered = dialect.render(thought=None, calls=(CALL, ToolCall("g", {})), response="ok")
    asked = [Asked(truth) for truth in (both, answered, "Hello!")]
    totals = [each.total for each in reward.score_batch([turns] * 3, asked)]
    assert totals[:2] == [4.0, 4.0] and totals[2] < 0


def test_a_broken_turn_spoils_the_reply():
    dialect = get_dialect("hermes")
    truth = dialect.scan(right("hermes"))
    turns = [dialect.scan(right("hermes")), dialect.scan('<tool_call>\n{"name": "g"')]
    reply = one_reply(turns, truth)
    assert reply.status is ParseStatus.UNCLOSED
    assert not reply.well_formed and not reply.calls_intact
    assert one_reply([], truth).status is ParseStatus.EMPTY


def test_later_turns_begin_where_the_tokens_between_left_off():
    dialect = get_dialect("hermes")
    between = "<result>1</result>assistant\n<think>\n"
    ids = list(("Hi" + between + "go").encode())
    mask = [True] * 2 + [False] * len(between) + [True] * 2
    assert written_turns(ids, mask, BYTES, dialect, "") == ("Hi", "<think>\ngo")


def test_the_declared_types_of_each_row():
    """The same text is a number for one row's tool and a text for another's."""
    text = "<tool_call>\n<function=f>\n<parameter=x>\n12\n</parameter>\n</function>\n</tool_call>"
    tools = [
        json.dumps([{"name": "f", "parameters": {"properties": {"x": {"type": kind}}}}])
        for kind in ("string", "integer")
    ]
    reward = ToolReward("qwen_xml", "constant")
    assert reward(completions=[text] * 2, ground_truth=[text] * 2, tools=tools) == [4.0, 4.0]
    for kind, value in zip(tools, ("12", 12), strict=True):
        assert reward.truth(text, tools=reward._tools(kind)).calls[0].parameters == {"x": value}
    with pytest.raises(InputError, match="a row's tools are not JSON"):
        reward(completions=[text], ground_truth=[text], tools=["{"])


THINKING = [n for n in dialect_names() if get_dialect(n).parse("<think>t</think>").thought == "t"]


def parsed(content, **more):
    call = {"name": "f", "arguments": {"x": "a"}}
    return [{"role": "assistant", "content": content, "tool_calls": [{"function": call}]} | more]


@pytest.mark.parametrize("name", THINKING)
def test_a_thought_in_the_content_beside_parsed_calls_is_the_thought(name):
    reward = ToolReward(name, "constant")
    truth = right(name, "")
    for content, opening in (
        ("<think>\nI go.\n</think>\n\n", ""),
        ("<think>I go.</think>", ""),
        ("I go.\n</think>\n\n", "<think>\n"),
    ):
        (found,) = reward.score_batch([parsed(content)], [Asked(truth, opening, TOOLS)])
        assert (found.format, found.exact) == (1.0, True), content
    (found,) = reward.score_batch([parsed("So </think> it is")], [Asked(right(name), "", TOOLS)])
    assert found.format == 0.0


@pytest.mark.parametrize("arguments", [{"x": "a"}, '{"x": "a"}'])
def test_openais_older_function_call_is_read(arguments):
    reward = ToolReward("hermes", "constant")
    call = {"name": "f", "arguments": arguments}
    message = {"role": "assistant", "content": None, "function_call": call}
    assert reward([[message]], ground_truth=[right("hermes")]) == [4.0]
    assert reward([[message | {"tool_calls": None}]], ground_truth=[right("hermes")]) == [4.0]
