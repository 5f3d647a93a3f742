"""A dialogue goes on until the policy answers, and what is broken is said."""

from pathlib import Path

import pytest
from tiny_policies import model_of, tokenizer_of

from toolrest.chat.policy import Said, TooLongDialogue, chat_wording
from toolrest.chat.session import MOST_ROUNDS, Session
from toolrest.chat.talk import talk
from toolrest.chat.tools import ChatTool
from toolrest.chat.view import TerminalView
from toolrest.core.dialects import get_dialect
from toolrest.data.dialogue import Action, Observation, Tool, UserTurn
from toolrest.errors import InputError
from toolrest.evaluate.target import find_target
from toolrest.policy.wording import Wording, read_wording, write_wording
from toolrest.recipe import Recipe

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
        if isinstance(text, BaseException):
            raise text
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
    assert session.unanswered is None  # asked again, it would be as long


def test_what_was_said_before_a_request_goes_where_the_dialogue_is_too_long(capsys):
    session, policy, _ = chat(capsys, ANSWER, CALL, None, ANSWER)
    session.ask("And 1 + 2?")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "a new one begins with the request" in line]
    assert lines[-1] == "answer: It is 2." and session.unanswered is None
    kinds = [type(turn) for turn in policy.dialogues[-1].turns]
    assert kinds == [UserTurn, Action, Observation]  # the call was made once
    assert policy.dialogues[-1].turns[0] == UserTurn("And 1 + 2?")


FAULTS = [KeyboardInterrupt(), RuntimeError("out of memory"), MemoryError(), InputError("refused")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("after", [(), (CALL,)])
def test_a_request_that_is_broken_off_is_kept_and_what_was_said_before_too(capsys, fault, after):
    session, policy, _ = chat(capsys, ANSWER, *after, fault, ANSWER)
    before = list(session.turns)
    with pytest.raises(type(fault)):
        session.ask("And now?")
    assert session.turns == before and session.unanswered == "And now?"
    session.ask(session.unanswered)
    assert session.unanswered is None and session.turns[len(before)] == UserTurn("And now?")
    assert not policy.texts


class Typist(TerminalView):
    """Types lines; then there are no more."""

    def __init__(self, *lines, interactive):
        super().__init__()
        self.lines, self.interactive = list(lines), interactive

    def read(self, prompt):
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_in_a_terminal_an_empty_line_asks_again(capsys, fault):
    policy = Policy(fault, ANSWER)
    view = Typist("What is 1 + 1?", "", "", interactive=True)
    talk(Session(policy, TOOLS, view, 8), view)
    asked = [dialogue.turns for dialogue in policy.dialogues]
    assert asked == [(UserTurn("What is 1 + 1?"),)] * 2  # the second empty line asks nothing
    lines = capsys.readouterr().out.splitlines()
    assert "note: your request is kept; an empty line asks it again" in lines
    assert lines[-1] == "answer: It is 2."


def test_a_request_that_is_too_long_by_itself_is_not_asked_again(capsys):
    policy = Policy(None, ANSWER)
    view = Typist("What is 1 + 1?", "", interactive=True)
    talk(Session(policy, TOOLS, view, 8), view)
    assert len(policy.dialogues) == 1
    assert "is kept" not in capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_piped_a_fault_ends_the_chat(fault):
    policy = Policy(fault, ANSWER)
    view = Typist("What is 1 + 1?", "", interactive=False)
    kind = InputError if "out of memory" in str(fault) else type(fault)  # a line with its mend
    with pytest.raises(kind):
        talk(Session(policy, TOOLS, view, 8), view)
    assert len(policy.dialogues) == 1


@pytest.mark.parametrize(
    ("positions", "kept", "most"),
    [
        *((256, None, 64), (2048, None, 512), (8192, None, 1024), (2, None, 1)),
        *((256, 192, 192), (256, 255, 255), (256, 256, 64), (256, 9000, 64)),
    ],
)
def test_a_reply_is_as_long_as_in_training_or_leaves_room_for_a_prompt(
    tmp_path, positions, kept, most
):
    tokenizer = tokenizer_of("qwen3")
    model = model_of("qwen3", tokenizer, max_position_embeddings=positions)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    if kept is not None:
        write_wording(tmp_path, Wording("hermes", "template", max_tokens=kept))
    target = find_target(str(tmp_path))
    assert chat_wording(target).max_tokens == most
    assert chat_wording(target, None, positions - 1).max_tokens == positions - 1
    for asked in (positions, positions + 1, 1 << 40):
        with pytest.raises(InputError, match=f"--max-tokens {asked}: .* {positions} positions"):
            chat_wording(target, None, asked)


def test_the_embedded_policy_replies_as_it_is_trained_in_any_dialect():
    target = find_target("embedded")
    limit = Recipe().rollout.max_response_tokens
    for dialect in (None, "rlla", "hermes"):
        assert chat_wording(target, dialect).max_tokens == limit
    assert chat_wording(target, "rlla") == chat_wording(target)


def test_parts_of_many_lines_are_one_part(capsys):
    _, _, lines = chat(capsys, "<think> a </think>\n<response> b\nc\x1b[2J </response>")
    assert lines[1:] == ["answer: b", "  c\\u001b[2J"]


def test_the_wording_that_is_kept_is_read_again(tmp_path):
    kept = Wording("hermes", "plain", True, 7, "all")
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
        '{"dialect": "rlla", "style": "rlla", "thoughts": "some"}',
        '{"dialect": "rlla", "style": "rlla", "thoughts": ["all"]}',
    ],
)
def test_a_wording_of_another_form_is_one_line(tmp_path: Path, text):
    (tmp_path / "toolrest.json").write_text(text)
    with pytest.raises(InputError, match=r"toolrest\.json: cannot be read"):
        read_wording(tmp_path)
