"""Single steps and whole episodes of one recipe are of the same rows, with the same held out."""

import json

import pytest
from small_runs import rows

from toolrest.engines.common.run_rows import run_samples
from toolrest.errors import InputError
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe

WORLD = ("environment.source=world", "environment.rows=24", "evaluation.samples=5")


def samples(*overrides):
    recipe = load_recipe(None, list(overrides))
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    return run_samples(recipe, tokenizer)


@pytest.mark.parametrize("seed", [0, 4])
def test_steps_and_trajectories_of_the_chains_are_of_the_same_rows(seed):
    whole = samples(*WORLD, f"seed={seed}")
    steps = samples(*WORLD, f"seed={seed}", "environment.train=steps")
    assert steps.heldout == whole.heldout and len(whole.heldout) == 5
    rows_of_steps = list(dict.fromkeys(each.group for each in steps.train))
    assert rows_of_steps == [f"world:{each.identity}" for each in whole.train]
    assert all(each.columns is None for each in steps.train)


def dialogues(path, count, name):
    """Rows that are dialogues of two actions, and what `reset` is given too."""
    rows(path, count)
    made = []
    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        row["messages"] += [
            {"role": "tool", "content": "nothing"},
            {"role": "assistant", "content": f"No news, {name} {number}."},
        ]
        made.append(json.dumps(row | {"index": number}))
    path.write_text("\n".join(made) + "\n")
    return path


def test_steps_of_files_are_of_the_rows_that_episodes_are_trained_on(tmp_path):
    """Also of files of one name, whose dialogues are told apart by their folders."""
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(dialogues(tmp_path / name / "rows.jsonl", 12, name))
    own = (
        "environment.source=bank.py:Bank",
        f"data.sources=[{{path: {paths[0]}}}, {{path: {paths[1]}}}]",
        *("data.heldout_fraction=0.25", "rollout.prompts_per_step=2"),
    )
    whole, steps = samples(*own), samples(*own, "environment.train=steps")
    assert steps.heldout == whole.heldout and len(whole.heldout) == 6
    answers = [each.ground_truth for each in steps.train if "No news" in each.ground_truth]
    told = [text.partition("No news, ")[2].split(".")[0].split() for text in answers]
    assert [f"{tmp_path}/{name}/rows.jsonl:{number}" for name, number in told] == [
        each.identity for each in whole.train
    ]
    assert len(steps.train) == 2 * len(whole.train)


def test_episodes_whose_turns_are_scored_have_the_truths_of_their_steps(tmp_path):
    """The rows are as without; the held-out ones are scored by the environment alone."""
    whole = samples(*WORLD)
    scored = samples(*WORLD, "reward.by_turns=true")
    steps = samples(*WORLD, "environment.train=steps")
    assert [each.columns for each in scored.train] == [each.columns for each in whole.train]
    told = [truth for each in scored.train for truth in each.truths]
    assert told == [each.ground_truth for each in steps.train]
    assert scored.heldout == whole.heldout and not any(each.truths for each in whole.train)
    path = dialogues(tmp_path / "rows.jsonl", 12, "a")
    own = ("environment.source=bank.py:Bank", f"data.path={path}", "rollout.prompts_per_step=2")
    found = samples(*own, "reward.by_turns=true").train
    assert all(len(each.truths) == 2 for each in found)
    numbers = [each.identity.rpartition(":")[2] for each in found]
    assert all(f"a {n}." in each.truths[1] for n, each in zip(numbers, found, strict=True))
    assert all(f'"City {n}"' in each.truths[0] for n, each in zip(numbers, found, strict=True))


def test_steps_whose_prompts_are_too_long_are_left_out_and_counted():
    steps = samples(*WORLD, "environment.train=steps")
    few = samples(*WORLD, "environment.train=steps", "data.max_prompt_tokens=160")
    assert few.dropped and len(few.train) + len(few.dropped) == len(steps.train)
    assert all(length > 160 for _, length in few.dropped)
    with pytest.raises(InputError, match="single steps are left to train on, fewer than"):
        samples(
            *WORLD, "environment.train=steps", "environment.rows=1", "rollout.prompts_per_step=9"
        )
