"""Rows of `prompt` and `ground_truth`: what `toolrest.ResTTrainer` asks for."""

import json

import pytest

from toolrest.core.dialects import ToolCall, dialect_names, get_dialect
from toolrest.data.decompose import Rendering
from toolrest.data.dialogue import UserTurn
from toolrest.data.rows import BadRow
from toolrest.data.sources import Source, iterate_samples, read_rows
from toolrest.engines.common.reward import ToolReward

TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
}
SAID = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
CALLS = (ToolCall("f", {"x": "a"}),)


def truth(dialect, thought=None):
    return get_dialect(dialect).render(thought=thought, calls=CALLS, response=None)


def samples(tmp_path, row, rendering, **options):
    (tmp_path / "a.json").write_text(json.dumps([row]))
    return list(iterate_samples(Source(str(tmp_path / "a.json"), **options), rendering, 0))


@pytest.mark.parametrize("dialect", dialect_names())
@pytest.mark.parametrize("style", ["template", "plain", "rlla"])
def test_messages_without_tools_stay_as_they_are(tmp_path, dialect, style):
    rendering = Rendering(dialect, style, think=False)
    (sample,) = samples(tmp_path, {"prompt": SAID, "ground_truth": truth(dialect)}, rendering)
    assert (list(sample.prompt), sample.tools) == (SAID, None)
    assert get_dialect(dialect).parse(sample.ground_truth).calls == CALLS
    assert ToolReward(dialect).score(sample.ground_truth, sample.ground_truth).exact


@pytest.mark.parametrize("prompt", ["What is [1]?", '[{"a": 1}]', '{"role": "user"}', "[]", "[{"])
def test_a_text_is_what_the_user_says(tmp_path, prompt):
    row = {"prompt": prompt, "ground_truth": "Hello."}
    (sample,) = samples(tmp_path, row, Rendering("hermes", "template", think=False))
    assert sample.prompt == ({"role": "user", "content": prompt},)
    assert sample.ground_truth.strip() == "Hello."


def test_messages_may_be_their_json_text(tmp_path):
    row = {"prompt": json.dumps(SAID), "ground_truth": "Hello."}
    (sample,) = samples(tmp_path, row, Rendering("hermes", "template", think=False))
    assert list(sample.prompt) == SAID


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [json.dumps(TOOL)]])
def test_tools_go_where_the_wording_has_them(tmp_path, tools):
    row = {"prompt": SAID, "ground_truth": truth("hermes"), "tools": tools}
    (sample,) = samples(tmp_path, row, Rendering("hermes", "template", think=False))
    assert sample.tools == (TOOL,)
    assert list(sample.prompt) == SAID
    (sample,) = samples(tmp_path, row, Rendering("hermes", "plain", think=False))
    assert sample.tools is None
    assert '"name": "f"' in sample.prompt[0]["content"]


def test_a_history_with_calls_is_worded(tmp_path):
    call = {"id": "7", "function": {"name": "f", "arguments": '{"x": "a"}'}}
    prompt = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "ipython", "content": {"a": 1}},
    ]
    row = {"prompt": prompt, "ground_truth": "Done."}
    (sample,) = samples(tmp_path, row, Rendering("hermes", "template", think=False))
    assert [message["role"] for message in sample.prompt] == ["user", "assistant", "tool"]
    assert sample.prompt[1]["tool_calls"][0]["function"]["arguments"] == {"x": "a"}
    hermes = Rendering("hermes", "template", think=False)
    (hidden,) = samples(tmp_path, row | {"tools": [TOOL]}, hermes, mask=1.0)
    assert len(hidden.prompt) == 3
    assert hidden.true_names is not None and set(hidden.true_names.values()) == {"f", "x"}
    (same,) = samples(tmp_path, {"prompt": SAID, "ground_truth": "Done."}, hermes, mask=1.0)
    assert list(same.prompt) == SAID


@pytest.mark.parametrize("think", [True, False])
def test_a_thought_of_the_ground_truth_is_the_demonstrations(tmp_path, think):
    row = {"prompt": "q", "ground_truth": truth("hermes", "why")}
    (sample,) = samples(tmp_path, row, Rendering("hermes", "template", think=think))
    assert "why" not in sample.ground_truth
    assert ("<think>" in sample.ground_truth) == think
    assert ("why" in str(sample.demonstration)) == think


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q", "ground_truth": "<tool_call>{"}, "in the dialect hermes"),
        ({"prompt": "q", "ground_truth": ""}, r"in the dialect hermes \(empty\)"),
        ({"prompt": "q", "ground_truth": [1]}, "ground_truth is a list, not a text"),
        ({"prompt": [], "ground_truth": "a"}, "prompt is empty"),
        ({"prompt": 5, "ground_truth": "a"}, "prompt is not a list of objects"),
        ({"prompt": [{"role": "cat", "content": ""}], "ground_truth": "a"}, "'cat'"),
        ({"prompt": "q", "ground_truth": "a", "tools": "x"}, "tools is not JSON"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, row, words):
    (tmp_path / "a.json").write_text(json.dumps([row]))
    (read,) = read_rows(Source(str(tmp_path / "a.json")), Rendering("hermes", "template"), 0)
    with pytest.raises(BadRow, match=words):
        raise read.bad


def test_what_the_user_says_is_looked_up_in_other_sets(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"prompt": SAID, "ground_truth": "Hello."}]))
    (read,) = read_rows(Source(str(tmp_path / "a.json")), Rendering("hermes", "template"), 0)
    assert [turn for turn in read.record.dialogue.turns if isinstance(turn, UserTurn)] == [
        UserTurn("q")
    ]


OTHER_FORMS = [
    '{"name": "f", "arguments": {"x": "a"}}',
    '[{"name": "f", "arguments": {"x": "a"}}]',
    '{"name": "f", "arguments": "{\\"x\\": \\"a\\"}"}',
    '```json\n{"name": "f", "arguments": {"x": "a"}}\n```',
    '{"tool_calls": [{"function": {"name": "f"}}]}',
    'f(x="a")',
    'functools[{"name": "f", "arguments": {"x": "a"}}]',
    'Action: f\nAction Input: {"x": "a"}',
]


@pytest.mark.parametrize("dialect", dialect_names())
def test_calls_of_another_dialect_are_never_a_response(tmp_path, dialect):
    written = {name: truth(name) for name in dialect_names()}
    for text in (*written.values(), *OTHER_FORMS):
        row = {"prompt": "q", "ground_truth": text, "tools": [TOOL]}
        (tmp_path / "a.json").write_text(json.dumps([row]))
        (read,) = read_rows(Source(str(tmp_path / "a.json")), Rendering(dialect, "template"), 0)
        if read.bad is None:
            reply = get_dialect(dialect).parse(read.samples[0].ground_truth, [TOOL])
            assert (reply.calls, reply.response) == (CALLS, None), text
