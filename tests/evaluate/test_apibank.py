"""API-Bank: the published soft score and the strict one."""

import json
import os
from pathlib import Path

import pytest

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.errors import InputError
from toolrest.evaluate.apibank import LEVELS, episodes, soft_calls
from toolrest.evaluate.episode import Answer

RLLA = get_dialect("rlla")
GOLD = ToolCall("Book", {"hotel": "Ritz", "nights": "2"})


def files(folder, answer=None, **changed):
    """The three files with one row each."""
    row = {
        "system": "S",
        "user": "U",
        "answer": [{"name": GOLD.name, "parameters": GOLD.parameters}],
    }
    row |= {"answer": answer} if answer is not None else {}
    row = {key: value for key, value in (row | changed).items() if value is not None}
    for name in LEVELS.values():
        (folder / name).write_text(json.dumps([row]))
    return folder


def play(folder, text, level="level-1"):
    (episode,) = episodes(folder, level, RLLA)
    assert [m["content"] for m in episode.request().messages] == ["S", "U"]
    episode.receive(Answer(text, "end", tokens=5))
    assert episode.request() is None
    return episode.outcome()


def call(name, values):
    return json.dumps({"name": name, "parameters": values})


RIGHT = call("Book", GOLD.parameters)
WRONG = call("Book", {"hotel": "Ritz", "nights": "3"})


@pytest.mark.parametrize(
    ("block", "soft", "strict", "check"),
    [
        (RIGHT, True, 1, ""),
        (f"{WRONG}\n{RIGHT}", True, 0, ""),
        ('{"hotel": "Ritz", "nights": "2"}', True, 0, ""),
        (WRONG, False, 0, "wrong value"),
        (call("Book", {"hotel": "Ritz", "nights": 2}), False, 0, "wrong value"),
        (call("Book", {"hotel": "Ritz"}), False, 0, "wrong parameters"),
        (call("Look", GOLD.parameters), False, 0, "wrong name"),
        ("not json", False, 0, "no call"),
    ],
)
def test_scores_by_hand(tmp_path, block, soft, strict, check):
    text = f"<think> t </think>\n<tool_call>\n{block}\n</tool_call>"
    found = play(files(tmp_path), text)
    assert (found.correct, found.scores["strict"], found.check) == (soft, strict, check)


def test_only_the_last_block_counts():
    text = f"<think> <tool_call>\n{RIGHT}\n </think>\n<tool_call>\n{WRONG}\n</tool_call>"
    assert [c.parameters["nights"] for c in soft_calls(text, "Book")] == ["3"]
    assert soft_calls("no tag", "Book") == []
    bare = 'Sure:\n{"name": "Book", "parameters": {"nights": "3"}}'
    assert soft_calls(bare, "Book") == []
    assert [c.parameters["nights"] for c in soft_calls(bare, "Book", untagged=True)] == ["3"]


def test_a_bare_object_is_an_answer_too(tmp_path):
    """As in level 2."""
    folder = files(tmp_path, answer={"name": GOLD.name, "parameters": GOLD.parameters})
    text = f"<think> t </think>\n<tool_call>\n{RIGHT}\n</tool_call>"
    assert play(folder, text, "level-2").correct


@pytest.mark.parametrize(
    "changed", [{"answer": [1]}, {"answer": []}, {"system": None}, {"answer": [{"name": "x"}]}]
)
def test_a_broken_row_is_named(tmp_path, changed):
    answer = changed.pop("answer", None)
    with pytest.raises(InputError, match="row 0"):
        episodes(files(tmp_path, answer, **changed), "level-1", RLLA)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match="level-1-api_processed"):
        episodes(tmp_path, "level-1", RLLA)
    for text in ("{", "{}"):
        (tmp_path / LEVELS["level-1"]).write_text(text)
        with pytest.raises(InputError, match="level-1"):
            episodes(tmp_path, "level-1", RLLA)


def test_another_dialect_gets_its_own_prompt_and_is_read_in_its_own_way(tmp_path):
    system = (
        "S\nuse the following tools:\n1. Name: Book\nDescription: Books.\n"
        "Parameters: {'hotel': {'type': 'str'}}\n\n**Steps for Each Turn**"
    )
    user = "**Dialogue Records History**\n<user>Book it.</user>\n<response>Where?</response>\n"
    folder = files(tmp_path, system=system, user=user + "<user> At the Ritz. </user>")
    hermes = get_dialect("hermes")
    (episode,) = episodes(folder, "level-1", hermes, "template")
    prompt = episode.request()
    assert [m["content"] for m in prompt.messages] == ["Book it.", "Where?", "At the Ritz."]
    assert prompt.tools[0]["function"]["name"] == "Book"
    text = hermes.render(thought=None, calls=[GOLD], response=None)
    episode.receive(Answer(text, "end"))
    assert episode.outcome().correct and episode.outcome().scores["strict"] == 1


@pytest.mark.skipif("TOOLREST_DATA" not in os.environ, reason="TOOLREST_DATA is not set")
def test_gold_answers_of_the_real_files_are_all_right():
    folder = Path(os.environ["TOOLREST_DATA"]) / "apibank"
    outcomes = []
    for level in LEVELS:
        for episode in episodes(folder, level, RLLA):
            text = RLLA.render(thought="t", calls=[episode.gold], response=None)
            episode.receive(Answer(text, "end"))
            outcomes.append(episode.outcome())
    assert len(outcomes) == 597
    assert all(o.correct and o.scores["strict"] == 1 for o in outcomes)
