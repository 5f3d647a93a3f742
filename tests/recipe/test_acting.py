"""What a recipe says of an environment fits the rest, and nothing that it says is ignored."""

import pytest

from toolrest.errors import InputError
from toolrest.recipe import dump_recipe, load_recipe, names_code, parse_recipe
from toolrest.recipe.sections import Environment

WORLD = "environment.source=world"
STEPS = "environment.train=steps"
WRONG = [
    # without an environment
    (["advantage.credit=turns"], "advantage.credit=turns needs an environment"),
    ([STEPS], "environment.train is said, but there is no environment"),
    (["environment.rows=3"], "environment.rows is said, but there is no environment"),
    (["environment.max_turns=3"], "environment.max_turns is said"),
    (["environment.max_result_tokens=64"], "environment.max_result_tokens is said"),
    (["environment.max_trajectory_tokens=999"], "environment.max_trajectory_tokens is said"),
    (["environment.call_timeout=3"], "environment.call_timeout is said"),
    (["environment.episode_timeout=99"], "environment.episode_timeout is said"),
    (["environment.workers=3"], "environment.workers is said"),
    (["environment.max_memory=1"], "environment.max_memory is said"),
    (["environment.failure=stop"], "environment.failure is said"),
    # with one: what it cannot be used with
    ([WORLD, "method=sft"], "to learn from; use environment.train=steps"),
    ([WORLD, "warm_start.method=rsft"], "run method=rsft with environment.train=steps first"),
    ([WORLD, "engine=verl", "environment.train=steps"], "in whole episodes; use engine=trl"),
    ([WORLD, "engine=verl", "reward.by_turns=true"], "gives all rewards there"),
    ([WORLD, "engine.sharding=fsdp"], "use engine.sharding=ddp"),
    ([WORLD, "rollout.sampler=vllm"], "use rollout.sampler=generate"),
    ([WORLD, "data.prompt=rlla"], "use data.prompt=plain or template"),
    ([WORLD, "dialect=hermes"], "the embedded chains ask for dialect=rlla"),
    ([WORLD, "advantage.credit=turn_mean"], "biased: its baseline"),
    ([WORLD, "advantage.credit=per_turn"], "`turns` has the mean of the whole group"),
    ([WORLD, "advantage.credit=spans"], "use advantage.credit=turns or response"),
    (
        [WORLD, "advantage.credit=turns", "reward.function=own.py:score"],
        "advantage.credit=turns with reward.function",
    ),
    (["reward.by_turns=true"], "reward.by_turns is about the turns of an episode"),
    (["reward.needless_turn=1"], "reward.needless_turn is about the turns of an episode"),
    # turns scored by the rules
    ([WORLD, STEPS, "reward.by_turns=true"], "a single step is one turn"),
    ([WORLD, "reward.needless_turn=1"], "nobody knows which turns are needless"),
    ([WORLD, "reward.by_turns=true", "advantage.credit=turns"], "what the environment gives alone"),
    (["environment.source=bank.py:Bank", "reward.by_turns=true"], "give data.path with dialogues"),
    # single steps
    ([WORLD, STEPS, "advantage.credit=turns"], "a single step is one turn"),
    (["environment.source=bank.py:Bank", STEPS], "give data.path with dialogues"),
    ([WORLD, STEPS, "data.thoughts=all"], "thoughts of earlier turns stay"),
    ([WORLD, STEPS, "engine=verl"], "use engine=trl"),
    ([WORLD, STEPS, "data.prompt=rlla"], "use data.prompt=plain or template"),
    ([WORLD, STEPS, "environment.train=parts"], "environment.train"),
    # what would be ignored
    ([WORLD, "reward.correctness=exact"], "reward.correctness says how"),
    ([WORLD, "reward.schedule=constant"], "reward.schedule says how"),
    ([WORLD, "reward.normalise_strings=true"], "reward.normalise_strings says how"),
    ([WORLD, "reward.lenient_types=true"], "reward.lenient_types says how"),
    ([WORLD, "reward.punish_over_calls=false"], "reward.punish_over_calls says how"),
    ([WORLD, "data.thoughts=all"], "data.thoughts is about actions"),
    ([WORLD, "data.thought_sentences=1"], "data.thought_sentences is about actions"),
    ([WORLD, "data.path=a.jsonl", "environment.rows=9"], "environment.rows=9 says how many"),
    ([WORLD, "data.sources=[{path: a.json, take: 2}]"], "data.sources.0.take with"),
    ([WORLD, "data.sources=[{path: a.json}, {path: b.json, share: 0.5}]"], "sources.1.share with"),
    ([WORLD, "data.sources=[{path: a.json, mask: 0.5}]"], "data.sources.0.mask with"),
    ([WORLD, "data.sources=[{path: a.json, format: xlam}]"], "data.sources.0.format with"),
    # limits that cannot all be kept
    ([WORLD, "environment.max_trajectory_tokens=100"], "rollout.max_response_tokens=192"),
    (
        [WORLD, "environment.max_trajectory_tokens=200"],
        "no room for a result of environment.max_result_tokens=256",
    ),
    ([WORLD, "environment.episode_timeout=9"], "environment.call_timeout=30"),
]


@pytest.mark.parametrize(("overrides", "said"), WRONG)
def test_what_does_not_fit_or_would_be_ignored_is_refused(overrides, said):
    with pytest.raises(InputError) as error:
        load_recipe(None, overrides)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_no_key_of_the_section_is_ignored_without_an_environment():
    refused = {words[0].partition("=")[0] for words, _ in WRONG if len(words) == 1}
    keys = {f"environment.{name}" for name in Environment.model_fields}
    assert refused & keys == keys - {"environment.source"}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [WORLD],
        [WORLD, "advantage.credit=turns", "weighting.normalise=trajectory"],
        [WORLD, "data.sources=[{path: a.json}]"],
        [WORLD, "reward.function=own.py:score", "data.path=a.json"],
        [WORLD, "environment.max_trajectory_tokens=100", "rollout.max_response_tokens=50",
         "environment.max_result_tokens=20"],
        ["environment.source=bank.py:Bank", "dialect=hermes"],
        ["environment.source=bank.py:Bank", STEPS, "data.path=a.jsonl"],
        [WORLD, STEPS, "reward.correctness=exact", "advantage.credit=spans"],
        [WORLD, STEPS, "warm_start.method=rsft", "data.thought_sentences=1"],
        [WORLD, STEPS, "method=sft"],
        [WORLD, "reward.by_turns=true", "reward.needless_turn=0.5", "reward.schedule=constant"],
    ],
)  # fmt: skip
def test_what_fits_is_taken_and_so_is_all_of_it_written_out(overrides):
    recipe = load_recipe(None, overrides)
    from toolrest.io.plain_yaml import plain_values

    whole = plain_values(dump_recipe(recipe), "it")
    assert parse_recipe(whole, "it") == recipe


@pytest.mark.parametrize(
    ("source", "runs"),
    [("bank.py:Bank", True), ("tools.py", True), ("world", False), ("http://127.0.0.1:80", False)],
)
def test_a_file_of_an_environment_is_code_that_a_recipe_names(source, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = names_code(load_recipe(None, [f"environment.source={source}"]))
    assert found == ({"environment.source": f"{tmp_path}/{source}"} if runs else {})


def test_credit_of_the_whole_trajectory_has_two_names():
    recipe = load_recipe(None, [WORLD, "advantage.credit=trajectory"])
    assert recipe == load_recipe(None, [WORLD, "advantage.credit=response"])
    assert recipe.advantage.credit == "response"
