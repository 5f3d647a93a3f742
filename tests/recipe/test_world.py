"""The key data.world: which tasks of the embedded world, and what would be ignored."""

import pytest

from toolrest.errors import InputError
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.thought_tasks import MOST_IDLE, Knobs


def test_the_usual_tasks_have_no_knobs():
    assert Recipe().data.world.knobs is None


@pytest.mark.parametrize(
    ("said", "knobs"),
    [
        ([], Knobs(1.0, 0)),
        (["data.world.idle_sentences=3"], Knobs(1.0, 3)),
        (["data.world.decided_in_thought=0"], Knobs(0.0, 0)),
        (["data.world.decided_in_thought=0.25", "data.world.idle_sentences=1"], Knobs(0.25, 1)),
    ],
)
def test_the_knobs_of_the_tasks_whose_thought_decides(said, knobs):
    assert load_recipe(None, ["data.world.tasks=thoughts", *said]).data.world.knobs == knobs


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (["data.world.idle_sentences=0"], "data.world.idle_sentences=0: single tasks"),
        (["data.world.decided_in_thought=1"], "add data.world.tasks=thoughts"),
        (["data.world.tasks=thoughts", "data.path=a.jsonl"], "with data.path: the tasks are"),
        (["data.world.tasks=thoughts", "environment.source=world"], "with environment.source"),
        (["data.world.tasks=thoughts", "dialect=hermes"], "the embedded tasks ask for dialect"),
        (["data.world.tasks=thought"], "'single' or 'thoughts'"),
        (["data.world.tasks=thoughts", "data.world.idle_sentences=1.5"], "integer"),
        (["data.world.tasks=thoughts", f"data.world.idle_sentences={MOST_IDLE + 1}"], "less than"),
        (["data.world.tasks=thoughts", "data.world.decided_in_thought=1.1"], "less than"),
        (["data.world.tasks=thoughts", "data.world.decided_in_thought=-1"], "greater than"),
        (["data.world.tasks=thoughts", "data.world.decided_in_thought=nan"], "finite"),
        (["data.world.tasks=thoughts", "data.world.decided_in_thought=yes"], "no number"),
        (["data.world.idle=2"], "data.world.idle_sentences"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(said, text):
    with pytest.raises(InputError) as caught:
        load_recipe(None, said)
    assert text in str(caught.value) and "\n" not in str(caught.value).strip()


def test_a_mixture_with_tasks_of_the_world_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {sources: [{path: a.jsonl}], world: {tasks: thoughts}}\n")
    with pytest.raises(InputError, match=r"with data\.sources"):
        load_recipe(path, [])
