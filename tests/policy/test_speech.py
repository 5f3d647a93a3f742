"""One source of what ends a turn, and of where a reply begins."""

from types import SimpleNamespace

import numpy as np
import pytest
from vocabularies import qwen

from toolrest.core.dialects import dialect_names, get_dialect
from toolrest.core.regions import Region, label_array
from toolrest.errors import InputError
from toolrest.policy.speech import read_speech, stop_token_ids

CHATML = "{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture
def tokenizer(monkeypatch):
    fast = qwen()
    monkeypatch.setattr(fast, "chat_template", CHATML)
    return fast


def ids(tokenizer, *tokens):
    return tuple(tokenizer.convert_tokens_to_ids(list(tokens)))


def config(ends):
    return SimpleNamespace(eos_token_id=ends)


def test_tokenizer_configuration_template_and_dialect_are_asked(tokenizer):
    hermes = get_dialect("hermes")
    (end,) = ids(tokenizer, "<|im_end|>")
    assert stop_token_ids(tokenizer, hermes) == (end,)
    assert stop_token_ids(tokenizer, hermes, config([7, end, 9])) == (end, 7, 9)
    assert stop_token_ids(tokenizer, hermes, config(7)) == (end, 7)
    assert stop_token_ids(tokenizer, hermes, config(None)) == (end,)
    tokenizer.chat_template = CHATML.replace("im_end", "end")
    assert stop_token_ids(tokenizer, hermes) == ids(tokenizer, "<|im_end|>", "<|end|>")


@pytest.mark.parametrize("name", dialect_names())
def test_a_dialects_own_ends_end_a_turn_where_the_vocabulary_has_them(tokenizer, name):
    dialect = get_dialect(name)
    known = {token for token in dialect.stop_tokens if token in tokenizer.get_vocab()}
    assert set(ids(tokenizer, *known)) <= set(stop_token_ids(tokenizer, dialect))


def test_gpt_oss_ends_a_turn_by_its_call(tokenizer):
    stops = stop_token_ids(tokenizer, get_dialect("gpt_oss"))
    assert set(ids(tokenizer, "<|call|>", "<|return|>")) <= set(stops)


def test_a_demonstration_that_has_its_end_gets_no_other(tokenizer):
    speech = read_speech(tokenizer, get_dialect("gpt_oss"))
    call, end = ids(tokenizer, "<|call|>", "<|im_end|>")
    assert speech.ended([5, call]) == [5, call]
    assert speech.ended([5]) == [5, end]
    assert speech.ended([]) == [end]


def test_a_demonstration_ends_as_the_template_ends_a_reply_and_the_dialect_its_calls(
    tokenizer, monkeypatch
):
    """The tokenizer's own end, such as Gemma's <eos>, may be another."""
    tokenizer.chat_template = CHATML.replace("im_end", "end")
    end, call = ids(tokenizer, "<|end|>", "<|call|>")
    dialect = get_dialect("gpt_oss")
    speech = read_speech(tokenizer, dialect)
    assert speech.stop_ids[0] != end
    assert speech.ended([5]) == speech.ended([5], calls=True) == [5, end]
    monkeypatch.setattr(type(dialect), "calls_end", "<|call|>")
    speech = read_speech(tokenizer, dialect)
    assert speech.ended([5]) == [5, end]
    assert speech.ended([5], calls=True) == [5, call]
    monkeypatch.setattr(type(dialect), "calls_end", "<|not in the vocabulary|>")
    assert read_speech(tokenizer, dialect).ended([5], calls=True) == [5, end]


@pytest.mark.parametrize("name", dialect_names())
def test_what_ends_calls_is_a_stop_token(name):
    dialect = get_dialect(name)
    assert dialect.calls_end is None or dialect.calls_end in dialect.stop_tokens


def test_no_end_at_all_is_an_error(tokenizer):
    silent = SimpleNamespace(
        eos_token_id=None, chat_template=None, get_vocab=dict, added_tokens_decoder={}
    )
    with pytest.raises(InputError, match="nothing says which token ends a turn"):
        stop_token_ids(silent, get_dialect("hermes"))


def test_every_end_is_scaffolding(tokenizer):
    """Of a base model's end of text, too, which is not the template's."""
    (word,) = tokenizer("Hi", add_special_tokens=False)["input_ids"]
    other = ids(tokenizer, "<|end|>")[0]
    for stop in (other, 151642):
        speech = read_speech(tokenizer, get_dialect("hermes"), config([stop]))
        row = np.array([[word, stop]])
        labels = label_array(row, np.ones_like(row, bool), speech.vocabulary, speech.dialect)
        assert labels.tolist() == [[Region.RESPONSE, Region.FORMAT]]


def test_where_a_reply_begins_is_read_from_the_prompts_tokens(tokenizer):
    speech = read_speech(tokenizer, get_dialect("hermes"))
    for text, opening in (
        ("user\nOslo?<|im_end|>\nassistant\n", ""),
        ("user\nOslo?<|im_end|>\nassistant\n<think>\n", "<think>\n"),
        ("assistant\n<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("assistant\n</think>", "</think>"),
        ("user\nwhat is <think>?<|im_end|>\nassistant\n", ""),
    ):
        assert speech.opening(tokenizer(text, add_special_tokens=False)["input_ids"]) == opening
