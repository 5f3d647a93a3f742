"""What is kept of a run's rows: what was read, anew for every change, whoever damages it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest

from toolrest.core.dialects import _DIALECTS as dialects
from toolrest.core.dialects import Hermes, register_dialect
from toolrest.data.prompts import render_prompt
from toolrest.data.sources import iterate_samples
from toolrest.data.stored import NotStorable, StoredSamples
from toolrest.engines.common import reading, row_key
from toolrest.engines.common.data import load_samples
from toolrest.engines.common.reading import read_rows, remembered_hash
from toolrest.errors import InputError
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe
from toolrest.runs.origins import rows_hash

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"where": {"type": "string"}}},
    },
}


def messages(number):
    call = {"type": "function", "function": {"name": "look", "arguments": {"where": f"w{number}"}}}
    return {
        "messages": [
            {"role": "user", "content": f"Where is {number}? é 東 \ud83d"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "there"},
            {"role": "assistant", "content": "It is there." * (1 + 20 * (number % 5 == 0))},
        ],
        "tools": [TOOL],
    }


def xlam(number):
    return {
        "query": f"Where is {number}?",
        "tools": json.dumps([{"name": "look", "description": "d", "parameters": {}}]),
        "answers": json.dumps([{"name": "look", "arguments": {"where": number}}]),
    }


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def tokenizer():
    return load_tokenizer(Recipe())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "toolrest" / "rows"


@pytest.fixture
def recipe(tmp_path):
    """Two sources, of which rows are drawn and masked."""
    first = {"path": write(tmp_path / "a.jsonl", map(messages, range(40))), "mask": 0.5}
    second = {"path": write(tmp_path / "b.jsonl", map(xlam, range(40))), "take": 25, "share": 0.8}
    return Recipe(
        dialect="hermes", data={"sources": [first, second], "prompt": "plain", "think": False}
    )


def said(rows):
    """All of it, types and the order of keys included."""
    return repr((list(rows.samples), *map(list, (rows.lengths, rows.groups, rows.counts))))


def never(*arguments, **options):
    raise AssertionError("the rows are read again")


def test_what_is_kept_is_what_is_read(recipe, tokenizer, cache, monkeypatch):
    rendering = recipe.rendering
    plain = [list(iterate_samples(s, rendering, recipe.seed)) for s in recipe.sources]
    seen = []
    first = read_rows(recipe, tokenizer, seen.append)
    assert repr(list(map(list, first.sources))) == repr(plain)
    flat = [sample for source in plain for sample in source]
    assert list(first.lengths) == [len(render_prompt(each, tokenizer)) for each in flat]
    assert list(first.groups) == [each.group for each in flat]
    assert seen == sorted(seen) and seen[-1] == len(flat)
    assert {path.suffix for path in cache.iterdir()} == {".json", ".jsonl"}
    monkeypatch.setattr(reading, "iterate_samples", never)
    second = read_rows(recipe, tokenizer, never)
    assert said(second) == said(first)
    assert repr(list(map(list, second.sources))) == repr(plain)


def test_the_same_rows_are_trained_on_whatever_is_kept(recipe, tokenizer, cache, monkeypatch):
    found = [load_samples(recipe, tokenizer) for _ in range(2)]
    monkeypatch.setattr(reading, "cache_folder", lambda kind: None)
    found.append(load_samples(recipe, tokenizer))
    monkeypatch.setattr(reading, "_stored", lambda *arguments: 1 / 0)
    monkeypatch.setattr(reading, "_stored", raising(NotStorable))
    found.append(load_samples(recipe, tokenizer))
    texts = {repr((list(f.train), f.heldout, f.dropped, f.refused)) for f in found}
    assert len(texts) == 1
    assert isinstance(found[1].train, StoredSamples) and isinstance(found[3].train, list)
    assert found[0].key == found[1].key is not None and found[3].key is None


def raising(error):
    def work(*arguments, **options):
        raise error

    return work


CHANGES = {
    "a byte of the data": lambda recipe, tokenizer, patch: add_row(recipe),
    "the seed": lambda recipe, tokenizer, patch: changed(recipe, seed=1),
    "the dialect": lambda recipe, tokenizer, patch: changed(recipe, dialect="qwen_xml"),
    "the wording": lambda recipe, tokenizer, patch: changed(recipe, data={"prompt": "template"}),
    "thoughts": lambda recipe, tokenizer, patch: changed(recipe, data={"think": True}),
    "earlier thoughts": lambda recipe, t, patch: changed(recipe, data={"thoughts": "all"}),
    "sentences": lambda recipe, t, patch: changed(recipe, data={"thought_sentences": 1}),
    "take": lambda recipe, tokenizer, patch: source(recipe, take=5),
    "share": lambda recipe, tokenizer, patch: source(recipe, share=0.5),
    "mask": lambda recipe, tokenizer, patch: source(recipe, mask=0.1),
    "drawn by": lambda recipe, tokenizer, patch: source(recipe, drawn_by="x"),
    "the format": lambda recipe, tokenizer, patch: source(recipe, format="messages"),
    "the order": lambda recipe, tokenizer, patch: turned(recipe),
    "a token": lambda recipe, tokenizer, patch: ignore(tokenizer.add_tokens(["Where"])),
    "the template": lambda recipe, tokenizer, patch: template(tokenizer),
    "a special token": lambda recipe, t, patch: ignore(setattr(t, "eos_token", "<think>")),
    "split special tokens": lambda recipe, t, patch: ignore(
        setattr(t, "split_special_tokens", True)
    ),
    "transformers": lambda recipe, t, patch: ignore(patch.setattr(row_key, "version", str.upper)),
    "python": lambda recipe, t, patch: ignore(patch.setattr(row_key.sys, "version", "4.0")),
    "the code": lambda recipe, t, patch: ignore(patch.setattr(row_key, "source_hash", lambda: "x")),
}
"""What changes the rows, or may: it gives the recipe, or None where that stays."""


def ignore(value):
    return None


def changed(recipe, data=None, **values):
    data = recipe.data.model_copy(update=data or {})
    return recipe.model_copy(update={"data": data, **values})


def source(recipe, **values):
    first, *rest = recipe.data.sources
    return changed(recipe, data={"sources": (first.model_copy(update=values), *rest)})


def turned(recipe):
    return changed(recipe, data={"sources": tuple(reversed(recipe.data.sources))})


def add_row(recipe):
    with Path(recipe.data.sources[0].path).open("a") as file:
        file.write("\n")


def template(tokenizer):
    tokenizer.chat_template = "Hi. " + tokenizer.chat_template


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_that_is_kept_is_used_after_a_change(what, recipe, tokenizer, cache, monkeypatch):
    before = read_rows(recipe, tokenizer)
    after = CHANGES[what](recipe, tokenizer, monkeypatch) or recipe
    monkeypatch.setattr(reading, "iterate_samples", raising(InputError("read again")))
    with pytest.raises(InputError, match="read again"):
        read_rows(after, tokenizer)
    assert row_key.row_key(after, tokenizer) != before.key


@pytest.mark.parametrize(
    "values",
    [{"max_steps": 3}, {"name": "a"}, {"data": {"max_prompt_tokens": 9}}, {"policy": "/p"}],
    ids=str,
)
def test_what_changes_no_row_is_no_part_of_the_key(values, recipe, tokenizer, cache):
    after = changed(recipe, **values)
    assert row_key.row_key(after, tokenizer) == row_key.row_key(recipe, tokenizer)


def test_answers_beside_the_questions_are_part_of_the_key(tmp_path, tokenizer):
    path = tmp_path / "questions.json"
    write(path, [{"id": "a", "question": [], "function": []}])
    recipe = Recipe(dialect="hermes", data={"path": str(path)})
    keys = [row_key.row_key(recipe, tokenizer)]
    for answer in ("1", "2"):
        (tmp_path / "possible_answer").mkdir(exist_ok=True)
        (tmp_path / "possible_answer" / path.name).write_text(answer)
        keys.append(row_key.row_key(recipe, tokenizer))
    assert len(set(keys)) == 3


def test_a_template_that_asks_for_the_date_has_a_key_of_the_day(recipe, tokenizer, monkeypatch):
    class Later(row_key.date):
        @classmethod
        def today(cls):
            return cls(2031, 1, 1)

    plain = row_key.row_key(recipe, tokenizer)
    today = {False: plain}
    monkeypatch.setattr(row_key, "date", Later)
    assert row_key.row_key(recipe, tokenizer) == today[False]
    tokenizer.chat_template += "{{ strftime_now('%d') }}"
    later = row_key.row_key(recipe, tokenizer)
    monkeypatch.undo()
    assert later != row_key.row_key(recipe, tokenizer)


class Own(Hermes):
    name = "own_of_this_test"


def test_what_has_code_of_its_own_or_lies_on_the_hub_is_not_kept(
    recipe, tokenizer, cache, monkeypatch
):
    assert (
        row_key.row_key(changed(recipe, data={"sources": None, "path": "a/b"}), tokenizer) is None
    )
    monkeypatch.setattr(type(tokenizer), "__module__", "transformers_modules.theirs")
    assert row_key.row_key(recipe, tokenizer) is None
    monkeypatch.undo()
    register_dialect(Own())
    try:
        own = changed(recipe, dialect=Own.name)
        assert row_key.row_key(own, tokenizer) is None
        assert read_rows(own, tokenizer).key is None
    finally:
        del dialects[Own.name]


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def put(text):
    return lambda path: path.write_bytes(text)


def index_with(**values):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


DAMAGE = {
    **{f"index {name}": (".json", change) for name, change in {
        "gone": Path.unlink, "cut": cut, "fifo": fifo, "empty": put(b""),
        "pickle": put(b"\x80\x04."),
        "deep": put(b"[" * 100_000), "list": put(b"[]"), "null": put(b"null"),
        "no hash": index_with(sha256=None), "other hash": index_with(sha256="0" * 64),
        "lengths": index_with(lengths=[1.5]), "truth": index_with(lengths=[True] * 105),
        "counts": index_with(counts=[-1, 106]), "ends": index_with(ends=[10**30] * 105),
        "texts": index_with(ends=["a"] * 105), "groups": index_with(groups=[1] * 105),
        "declare": index_with(declare=None), "nothing": index_with(
            ends=[], lengths=[], groups=[], counts=[], declare=""),
    }.items()},
    **{f"rows {name}": (".jsonl", change) for name, change in {
        "gone": Path.unlink, "cut": cut, "flip": flip, "fifo": fifo, "empty": put(b""),
        "other": put(b"{}\n"),
    }.items()},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_damaged_is_ignored_and_made_anew(what, recipe, tokenizer, cache, monkeypatch):
    expected = said(read_rows(recipe, tokenizer))
    suffix, change = DAMAGE[what]
    (path,) = cache.glob(f"*{suffix}")
    change(path)
    calls = []

    def read(*arguments):
        calls.append(0)
        return iterate_samples(*arguments)

    monkeypatch.setattr(reading, "iterate_samples", read)
    assert said(read_rows(recipe, tokenizer)) == expected
    assert len(calls) == 2, "both sources were read"
    assert said(read_rows(recipe, tokenizer)) == expected
    assert len(calls) == 2, "and kept again"


def test_a_line_of_another_shape_is_said_in_one_line(recipe, tokenizer, cache):
    """As only a file can have whose hash was forged too."""
    read_rows(recipe, tokenizer)
    (index,), (body,) = cache.glob("*.json"), cache.glob("*.jsonl")
    lines = body.read_bytes().splitlines(keepends=True)
    lines[0] = b"[" + b" " * (len(lines[0]) - 3) + b"]\n"
    body.write_bytes(b"".join(lines))
    index_with(sha256=sha256(body.read_bytes()).hexdigest())(index)
    with pytest.raises(InputError, match="start again"):
        read_rows(recipe, tokenizer).samples[0]


def test_a_file_that_changes_while_it_is_read_is_not_kept(recipe, tokenizer, cache, monkeypatch):
    def read(*arguments):
        yield from iterate_samples(*arguments)
        add_row(recipe)

    monkeypatch.setattr(reading, "iterate_samples", read)
    assert read_rows(recipe, tokenizer).key is None
    assert not list(cache.iterdir())


def test_without_a_folder_rows_are_read_each_time(recipe, tokenizer, cache, tmp_path, monkeypatch):
    expected = said(read_rows(recipe, tokenizer))
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("")
    assert said(read_rows(recipe, tokenizer)) == expected


def test_a_stop_on_the_way_leaves_nothing(recipe, tokenizer, cache, monkeypatch):
    def read(*arguments):
        yield from iterate_samples(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "iterate_samples", read)
    with pytest.raises(KeyboardInterrupt):
        read_rows(recipe, tokenizer)
    assert not list(cache.iterdir())


SCRIPT = """
import sys
from toolrest.engines.common.data import load_samples
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe
from toolrest.runs.origins import rows_hash

recipe = Recipe.model_validate_json(sys.argv[1])
print(rows_hash(load_samples(recipe, load_tokenizer(Recipe())).train))
"""


@pytest.mark.slow
def test_two_processes_at_once(recipe, tokenizer, cache):
    expected = rows_hash(load_samples(recipe, tokenizer).train)
    shutil.rmtree(cache)
    command = [sys.executable, "-c", SCRIPT, recipe.model_dump_json()]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate()[0].strip() for each in both] == [expected] * 2
    assert [each.returncode for each in both] == [0, 0]
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".jsonl"]
    assert rows_hash(load_samples(recipe, tokenizer).train) == expected


def test_the_embedded_world_has_no_rows_to_read(tokenizer, cache):
    rows = read_rows(Recipe(), tokenizer)
    assert (list(rows.samples), rows.sources, rows.key) == ([], [], None)
    assert not cache.exists()


def test_the_hash_of_the_rows_is_remembered(recipe, tokenizer, cache):
    samples = load_samples(recipe, tokenizer)
    work = []

    def hashed():
        work.append(0)
        return rows_hash(samples.train)

    expected = sha256()
    for each in samples.train:  # as runs that are there have it in their data.json
        told = {
            key: value for key, value in asdict(each).items() if key not in ("columns", "truths")
        }
        expected.update(json.dumps(told, sort_keys=True, default=str).encode() + b"\n")
    assert remembered_hash(samples.key, hashed) == expected.hexdigest()
    assert remembered_hash(samples.key, hashed) == expected.hexdigest()
    assert len(work) == 1
    for damaged in ("", "x" * 64, "0" * 65):
        (cache / f"{samples.key}.txt").write_text(damaged)
        assert remembered_hash(samples.key, hashed) == expected.hexdigest()
    assert len(work) == 4
    assert remembered_hash(None, hashed) == expected.hexdigest() and len(work) == 5


def test_another_choice_of_rows_has_another_key(recipe, tokenizer, cache):
    some = changed(recipe, data={"heldout_fraction": 0.5})
    assert load_samples(some, tokenizer).key != load_samples(recipe, tokenizer).key
