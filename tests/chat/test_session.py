"""A dialogue goes on until the policy answers, and what is broken is said."""

from pathlib import Path

import pytest

from toolrest.chat.policy import Said, TooLongDialogue
from toolrest.chat.session import MOST_ROUNDS, Session
from toolrest.chat.tools import ChatTool
from toolrest.chat.view import TerminalView
from toolrest.core.dialects import get_dialect
from toolrest.data.dialogue import Action, Observation, Tool, UserTurn
from toolrest.errors import InputError
from toolrest.policy.wording import Wording, read_wording, write_wording

DIALECT = get_dialect("rlla")
CALL = '<think> t </think>\n<tool_call>\n{"name": "add", "parameters": {"a": 1}}\n</tool_call>'
ANSWER = "<think> t </think>\n<response> It is 2. </response>"
TOOLS = {"add": ChatTool(Tool("add", "Adds."), lambda a: a + 1)}


class Policy:
    """Says what it is given, whatever it is asked."""

    single = False

    def __init__(self, *texts):
        self.texts, self.dialogues = list(texts), []

    def answer(self, dialogue, temperature, max_tokens):
        self.dialogues.append(dialogue)
        text = self.texts.pop(0)
        if text is None:
            raise TooLongDialogue("9 of 8")
        return Said([1], [2], "", text, DIALECT.parse(text), cut=text.endswith("{"))


def chat(capsys, *texts, tools=TOOLS, **more):
    policy = Policy(*texts)
    session = Session(policy, tools, TerminalView(), 8, **more)
    session.ask("What is 1 + 1?")
    return session, policy, capsys.readouterr().out.splitlines()


def test_results_go_back_until_it_answers(capsys):
    session, policy, lines = chat(capsys, CALL, CALL, ANSWER, system="Be short.")
    assert lines == [
        *("thought: t", 'call: add {"a": 1}', "result: add: 2") * 2,
        *("thought: t", "answer: It is 2."),
    ]
    kinds = [type(turn) for turn in session.turns]
    assert kinds == [UserTurn, Action, Observation, Action, Observation, Action]
    assert session.turns[2].results == (("add", "2"),)
    assert policy.dialogues[-1].tools == (TOOLS["add"].tool,)
    assert policy.dialogues[-1].system == "Be short."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ('<think> t </think>\n<tool_call>\n{"name": "add"}\n</tool_call>', "no valid JSON"),
        ("<think> t", "a block does not end"),
        ('<tool_call>\n{"name": "add", "parameters": {', "it was cut at the most tokens"),
        ("Hello", "text in no block"),
        ("<think> t </think>", "neither calls a tool nor answers"),
    ],
)
def test_what_is_broken_is_said_and_nothing_is_called(capsys, text, why):
    session, _, lines = chat(capsys, text)
    (broken,) = [line for line in lines if line.startswith("broken: ")]
    assert why in broken
    assert not [line for line in lines if line.startswith(("result", "answer"))]
    assert [type(turn) for turn in session.turns] == [UserTurn, Action]


def test_calls_without_end_come_to_one(capsys):
    _, policy, lines = chat(capsys, *[CALL] * 20)
    assert len(policy.dialogues) == MOST_ROUNDS
    assert lines[-1].startswith("note: ") and "no answer" in lines[-1]


def test_a_dialogue_that_is_too_long_begins_anew(capsys):
    session, _, lines = chat(capsys, CALL, None)
    assert "too long (9 of 8)" in lines[-1] and session.turns == []


def test_parts_of_many_lines_are_one_part(capsys):
    _, _, lines = chat(capsys, "<think> a </think>\n<response> b\nc\x1b[2J </response>")
    assert lines[1:] == ["answer: b", "  c\\u001b[2J"]


def test_the_wording_that_is_kept_is_read_again(tmp_path):
    kept = Wording("hermes", "plain", True, 7)
    write_wording(tmp_path, kept)
    assert read_wording(tmp_path) == kept
    assert read_wording(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", '{"dialect": "rlla"}', '{"dialect": "x", "style": "rlla"}'),
        *('{"dialect": "rlla", "style": "x"}', '{"dialect": "rlla", "style": []}'),
        '{"dialect": "rlla", "style": "rlla", "more": 1}',
        '{"dialect": "rlla", "style": "rlla", "max_tokens": 0}',
        '{"dialect": "rlla", "style": "rlla", "think": "yes"}',
    ],
)
def test_a_wording_of_another_form_is_one_line(tmp_path: Path, text):
    (tmp_path / "toolrest.json").write_text(text)
    with pytest.raises(InputError, match=r"toolrest\.json: cannot be read"):
        read_wording(tmp_path)
