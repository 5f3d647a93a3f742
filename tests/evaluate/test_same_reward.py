"""Training and evaluation give equal scores on equal replies, whatever the reward's options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import get_dialect
from toolrest.core.rewards.turns import written_turns
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.reward import Asked
from toolrest.engines.verl.overrides import run_paths, verl_overrides
from toolrest.engines.verl.reward_function import compute_score
from toolrest.evaluate import heldout
from toolrest.experiments import trajectories
from toolrest.recipe import load_recipe
from toolrest.recipe.sections import Data

CALL = (
    '<think>t</think>\n<tool_call>\n{"name": "f", "parameters": {"a": "%s", "n": %s}}\n</tool_call>'
)
NO_CALL = "<think>t</think>\n<response>No.</response>"

TRUTHS = [CALL % ("x y", "5"), CALL % ("X, y!", "7"), NO_CALL]
REPLIES = [*TRUTHS, CALL % ("x y", '"5"'), CALL % ("xy", "5"), "no reply at all", CALL[:60]]

corrections = st.dictionaries(
    st.sampled_from(["partial", "exact", "ast"]), st.sampled_from([0.5, 1.0, 2.0]), min_size=1
)
options = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(["rest", "constant", "official", "binary"]),
        "correctness": corrections,
        "punish_over_calls": st.booleans(),
        "normalise_strings": st.booleans(),
        "lenient_types": st.booleans(),
    }
)
pairs = st.lists(
    st.tuples(st.sampled_from(REPLIES), st.sampled_from(TRUTHS)), min_size=1, max_size=4
)


def recipe_of(chosen):
    weights = ", ".join(f"{name}: {weight}" for name, weight in chosen["correctness"].items())
    rest = {key: str(value).lower() for key, value in chosen.items() if key != "correctness"}
    said = [f"reward.{key}={value}" for key, value in rest.items()]
    return load_recipe(None, [*said, f"reward.correctness={{{weights}}}"])


def scores(breakdowns):
    """What does not hang on the schedule."""
    return [(b.format, b.correctness, b.exact, b.over_called, b.calls) for b in breakdowns]


@pytest.fixture(scope="module")
def vocabulary(embedded_tokenizer):
    special = get_dialect("rlla").special_tokens
    return Vocabulary.from_tokenizer(embedded_tokenizer, written_special_tokens=special)


@given(chosen=options, said=pairs, progress=st.sampled_from([0.0, 0.5, 1.0]))
def test_training_and_evaluation_score_alike(
    embedded_tokenizer, vocabulary, chosen, said, progress
):
    recipe = recipe_of(chosen)
    trained, evaluated = recipe_reward(recipe), recipe_reward(recipe, "constant")
    replies, truths = [reply for reply, _ in said], [truth for _, truth in said]
    ids = embedded_tokenizer(replies, add_special_tokens=False)["input_ids"]
    turns = [written_turns(each, None, vocabulary, trained.dialect, "") for each in ids]
    given = trained.score_batch(turns, list(map(Asked, truths)), progress)
    found = [evaluated.score(reply, truth) for reply, truth in said]
    assert scores(given) == scores(found)
    if chosen["schedule"] == "constant":
        assert given == found


@given(chosen=options, said=pairs)
def test_verl_scores_as_evaluation_does(tmp_path_factory, chosen, said):
    recipe = recipe_of(chosen).model_copy(
        update={"policy": "some/policy", "data": Data(path="rows.jsonl")}
    )
    paths = run_paths(tmp_path_factory.getbasetemp(), evaluated=False)
    told = verl_overrides(recipe, "one", paths)
    arguments = next(value for key, value in told.items() if key.endswith("reward_kwargs"))
    evaluated = recipe_reward(recipe, "constant")
    for reply, truth in said:
        verl = compute_score("toolrest", reply, truth, **arguments)
        found = evaluated.score(reply, truth)
        assert verl["score"] == found.total
        assert (verl["format"], verl["correctness"]) == (found.format, found.correctness)
        assert bool(verl["exact_match"]) == found.exact


@pytest.mark.parametrize("module", [heldout, trajectories])
def test_who_scores_takes_the_recipe_s_reward(module):
    """No evaluation names options of its own."""
    assert module.recipe_reward is recipe_reward
    assert not hasattr(module, "ToolReward")
