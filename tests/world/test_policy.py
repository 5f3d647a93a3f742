import random
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from toolrest.core.vocabulary import Vocabulary
from toolrest.world import build
from toolrest.world.tasks import Split, make_samples
from toolrest.world.teaching import NOT_LEARNED


def test_the_shipped_policy_is_small_and_safe():
    folder = Path(str(files("toolrest.world") / "policy"))
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "build.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000


def test_a_value_is_the_same_tokens_wherever_it_stands(embedded_tokenizer):
    for value in ("Wilven", "Bosta", "K4183", "9027"):
        tokens = embedded_tokenizer.tokenize(value)
        for text in (f'with city {value} and"', f'{{"city": "{value}"}}', f"{value}."):
            around = embedded_tokenizer.tokenize(text)
            starts = range(len(around) - len(tokens) + 1)
            assert tokens in [around[i : i + len(tokens)] for i in starts]


def test_prompts_survive_the_tokenizer(embedded_tokenizer):
    vocabulary = Vocabulary.from_tokenizer(embedded_tokenizer)
    for sample in make_samples(Split.HELDOUT, 50):
        for text in (*(m["content"] for m in sample.prompt), sample.ground_truth):
            assert vocabulary.text(embedded_tokenizer(text)["input_ids"]) == text


def test_the_shipped_tokenizer_is_the_one_that_the_command_builds(embedded_tokenizer):
    assert build.build_tokenizer().get_vocab() == embedded_tokenizer.get_vocab()


@pytest.fixture
def short_lessons(monkeypatch):
    monkeypatch.setattr(
        build, "LESSONS", tuple(replace(x, steps=2, batch=2) for x in build.LESSONS)
    )


@pytest.mark.slow
def test_the_build_is_seeded(tmp_path, short_lessons):
    lines = []
    for name in ("one", "two"):
        build.build(tmp_path / name, report=lines.append)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [line.split(":")[0] for line in lines[1:4]] == ["repeating", "repeating", "copying"]


def test_the_repeating_lesson_asks_for_tokens_that_the_prompt_holds(embedded_tokenizer):
    rng = random.Random(0)
    for _ in range(50):
        ids, labels = build.LESSONS[0].write(embedded_tokenizer, 0, 0, rng)
        learned = [label != NOT_LEARNED for label in labels]
        given = learned.index(True)
        assert all(learned[given:])
        prompt, asked = ids[:given], ids[given - 1 :]
        starts = range(len(prompt) - len(asked))
        assert asked in [prompt[start : start + len(asked)] for start in starts]
