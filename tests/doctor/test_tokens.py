import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vocabularies import SPECIAL_TOKENS, qwen

from toolrest.core.dialects import dialect_names, get_dialect
from toolrest.core.vocabulary import Vocabulary
from toolrest.doctor import tokens
from toolrest.doctor.check import Status
from toolrest.recipe import Recipe


def recipe(dialect):
    return Recipe(dialect=dialect, data={"path": "rows.jsonl"})


def bytewise(normalizer=None, special=()):
    """A token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: n for n, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": list(special)})
    return fast


def look(check, dialect, tokenizer):
    given = recipe(dialect)
    return check(given, tokenizer, tokens.read_vocabulary(given, tokenizer))[0]


@pytest.mark.parametrize("dialect", dialect_names())
def test_tokens_carry_every_dialect(dialect):
    tokenizer = bytewise(special=get_dialect(dialect).special_tokens)
    for check in (tokens.check_round_trip, tokens.check_regions):
        assert look(check, dialect, tokenizer).status is Status.OK, check


def test_a_real_vocabulary():
    for check in (tokens.check_round_trip, tokens.check_regions):
        assert look(check, "hermes", qwen()).status is Status.OK, check


def test_a_thoughts_marks_are_read_where_they_are_special_tokens():
    """<think> is a special token, and no mark of the dialect."""
    tokenizer = bytewise(special=["<think>", "</think>"])
    assert look(tokens.check_regions, "pythonic", tokenizer).status is Status.OK


def test_marks_that_are_single_tokens_and_those_that_are_not():
    single = tokens.check_marks(recipe("hermes"), bytewise(special=SPECIAL_TOKENS))[0]
    assert single.status is Status.OK
    several = tokens.check_marks(recipe("hermes"), bytewise())[0]
    assert several.status is Status.NOTE and "<think> 7" in several.found
    assert tokens.check_marks(recipe("pythonic"), bytewise())[0].status is Status.OK


def test_a_tokenizer_that_changes_texts():
    check = look(tokens.check_round_trip, "hermes", bytewise(normalizers.Lowercase()))
    assert check.status is Status.WARNING and "'Plain words," in check.found


def test_bytes_that_are_not_what_the_tokenizer_decodes():
    fast = bytewise()
    right = Vocabulary.from_tokenizer(fast)
    wrong = Vocabulary(right.blob[::-1].copy(), right.starts, right.end_ids)
    (check,) = tokens.check_round_trip(recipe("hermes"), fast, wrong)
    assert check.status is Status.PROBLEM and "regions would be wrong" in check.found


def test_regions_that_a_tokenizer_spoils():
    """Lower-cased, Mistral's [TOOL_CALLS] is no mark any more."""
    fine = look(tokens.check_regions, "mistral", bytewise())
    assert fine.status is Status.OK and "other" not in fine.found
    spoiled = look(tokens.check_regions, "mistral", bytewise(normalizers.Lowercase()))
    assert spoiled.status is Status.PROBLEM and spoiled.mend
