"""Which sampler a recipe can have here."""

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import check_vllm


@pytest.mark.parametrize(
    ("rollout", "more", "installed", "gpu", "words"),
    [
        ({"sampler": "vllm"}, {}, False, True, r"toolrest\[vllm\]"),
        ({"sampler": "vllm"}, {}, True, False, "needs a GPU"),
        ({"sampler": "vllm"}, {}, True, True, None),
        ({"sampler": "vllm", "vllm": {"mode": "server"}}, {}, True, False, None),
        ({"sampler": "generate"}, {}, False, False, None),
        ({"sampler": "vllm"}, {"method": "sft"}, False, False, None),
    ],
)
def test_vllm_samples_where_it_is_and_takes_new_weights(
    monkeypatch, rollout, more, installed, gpu, words
):
    spec = object() if installed else None
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: spec)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    recipe = Recipe.model_construct(**(dict(Recipe(rollout=rollout)) | more))
    if words is None:
        check_vllm(recipe)
        return
    with pytest.raises(InputError, match=words):
        check_vllm(recipe)


def test_it_is_refused_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: object())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(
        "toolrest.engines.trl.job.load_policy", lambda *given, **more: pytest.fail("was loaded")
    )
    done = CliRunner().invoke(app, ["train", "rollout.sampler=vllm", "max_steps=1"])
    assert done.exit_code == 2 and "needs a GPU" in done.output, done.output
    assert "Traceback" not in done.output
