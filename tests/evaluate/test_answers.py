import json
import os
import shutil

import interleavings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.evaluate.answers import AnswerStore
from toolrest.evaluate.episode import Answer

SETTINGS = {"policy": "p", "max_tokens": 5}


def test_answers_are_there_again(tmp_path):
    answer = Answer("a\ud800\nb", "end", 3, 4, [{"name": "f", "arguments": {}}])
    with AnswerStore(tmp_path, SETTINGS) as store:
        store.add("x/0", answer)
        assert store.path.read_bytes().endswith(b"\n")
    with AnswerStore(tmp_path, SETTINGS) as store:
        assert store.get("x/0") == answer
        assert store.get("x/1") is None


@given(cut=st.integers(1, 60))
def test_a_torn_last_line_is_taken_out(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("torn")
    with AnswerStore(folder, SETTINGS) as store:
        store.add("a/0", Answer("first", "end"))
        size = store.path.stat().st_size
        store.add("b/0", Answer("second", "end"))
    whole = store.path.stat().st_size
    os.truncate(store.path, max(size, whole - cut))
    with AnswerStore(folder, SETTINGS) as store:
        assert store.get("a/0") is not None
        assert store.get("b/0") is None
        store.add("b/0", Answer("again", "end"))
    with AnswerStore(folder, SETTINGS) as store:
        assert store.get("b/0").text == "again"


def test_other_settings_are_refused_by_name(tmp_path):
    with AnswerStore(tmp_path, SETTINGS):
        pass
    with pytest.raises(InputError, match=r"max_tokens: 5, now 6.*--out"):
        AnswerStore(tmp_path, SETTINGS | {"max_tokens": 6})


def test_settings_that_are_none_are_others(tmp_path):
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(InputError, match="other settings"):
        AnswerStore(tmp_path, SETTINGS)


def test_two_at_once_are_refused(tmp_path):
    with AnswerStore(tmp_path, SETTINGS), pytest.raises(InputError, match="another evaluation"):
        AnswerStore(tmp_path, SETTINGS)


def test_the_settings_are_those_of_who_answers(tmp_path, monkeypatch):
    """Two evaluations of different settings begin in one folder at the same moment."""
    folder = tmp_path / "e"
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    interleavings.stop_at(monkeypatch)

    def evaluation(number):
        def work():
            with AnswerStore(folder, {"max_tokens": number}):
                interleavings.stage()
                assert json.loads((folder / "settings.json").read_text()) == {"max_tokens": number}

        return work

    def begin():
        shutil.rmtree(folder, ignore_errors=True)
        return evaluation(1), evaluation(2)

    for players in interleavings.every_order(begin, 2):
        errors = [player.error for player in players if player.error is not None]
        assert len(errors) == 1 and isinstance(errors[0], InputError)
        assert any(text in str(errors[0]) for text in ("another evaluation", "other settings"))


@pytest.mark.parametrize("line", ['{"key": 1}', "[]", '{"key": "a", "text": 5, "stop": "end"}'])
def test_a_broken_line_is_named(tmp_path, line):
    with AnswerStore(tmp_path, SETTINGS) as store:
        store.add("a/0", Answer("first", "end"))
    with store.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 2"):
        AnswerStore(tmp_path, SETTINGS)


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        AnswerStore(tmp_path / "file" / "x", SETTINGS)


def test_settings_that_are_too_deep_are_other_settings(tmp_path):
    (tmp_path / "settings.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="answers of other settings"):
        AnswerStore(tmp_path, SETTINGS)
