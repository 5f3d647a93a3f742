"""docs/paper.md's commands are recipes that their engines take, and its presets are the same."""

import re
from pathlib import Path

import pytest

from toolrest.engines.trl.sft import region_scales
from toolrest.engines.verl.overrides import run_paths, verl_overrides
from toolrest.errors import InputError
from toolrest.experiments.methods import PRESETS, apply_method
from toolrest.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAPER = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
SIZES = sorted(re.findall(r"\| `(recipes/verl-\S+\.yaml)` \|", PAPER))
SECTION = PAPER.split("## The methods")[1].split("## API-Bank")[0]
METHODS = {
    name.strip(): (words.strip().strip("`").split(), preset.strip(" `"))
    for name, words, preset in re.findall(r"^\|([^|]*)\|([^|]*)\|([^|]*)\|$", SECTION, re.M)
    if "---" not in name and name.strip() != "the paper's row"
}
SUPERVISED = dict(re.findall(r"^\| (\w+) \| `toolrest train ([^`]*)` \|$", SECTION, re.M))


def test_every_row_of_the_paper_is_there():
    assert len(SIZES) == 5
    assert {preset for _, preset in METHODS.values() if preset} == {
        *("rest", "grpo", "dr_grpo", "rest_kl", "rest_constant_reward"),
        *("rest_no_reasoning", "rest_no_curriculum", "official"),
    }
    assert {"SFT then GRPO", "SFT then ResT"} <= METHODS.keys()
    assert list(SUPERVISED) == ["SFT", "TSFT", "RSFT"]


@pytest.mark.parametrize("path", SIZES)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_words_are_its_preset_and_verl_takes_them(name, path, tmp_path):
    words, preset = METHODS[name]
    recipe = load_recipe(ROOT / path, words)
    assert verl_overrides(recipe, "one", run_paths(tmp_path, evaluated=False))
    if preset:
        own = apply_method(load_recipe(ROOT / path, []), PRESETS[preset])
        assert own.model_dump() == recipe.model_dump()


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_supervised_baselines_are_commands_of_their_own(name, tmp_path):
    path, *words = SUPERVISED[name].split()
    recipe = load_recipe(ROOT / path, words)
    assert (recipe.method, recipe.name, recipe.engine.name) == (name.lower(), name.lower(), "trl")
    assert recipe.warm_start.steps * recipe.warm_start.batch_size == 3 * 400
    scaled = region_scales(recipe.method, recipe.warm_start.scale)
    assert bool(scaled) == (name != "SFT")
    with pytest.raises(InputError, match="supervised learning is the TRL engine's"):
        verl_overrides(load_recipe(ROOT / SIZES[0], [f"method={recipe.method}"]), "one", ...)
    larger = re.search(r"`(policy=\S+ engine[^`]*)` makes it another's", SECTION)
    assert load_recipe(ROOT / path, [*words, *larger[1].split()]).engine.processes == 8


def test_the_release_s_own_training_is_its_launch_script(tmp_path):
    """The words of train_ResT.sh at 1229095296/ResT_Tool_use_LLM, d6c29b5, by today's names; then
    what its verl has where the script says nothing.
    """
    recipe = load_recipe(ROOT / "recipes/verl-release-qwen3-1.7b.yaml", [])
    settings = verl_overrides(recipe, "one", run_paths(tmp_path, evaluated=False))
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    script = {
        "data.train_batch_size": 512,
        "data.max_prompt_length": 2048,
        "data.max_response_length": 2048,
        "actor_rollout_ref.model.path": "Qwen/Qwen3-1.7B",
        f"{actor}.optim.lr": 1e-6,
        f"{actor}.ppo_mini_batch_size": 64,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.use_kl_loss": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        f"{rollout}.name": "vllm",
        f"{rollout}.tensor_model_parallel_size": 8,
        f"{rollout}.gpu_memory_utilization": 0.5,
        f"{rollout}.n": 4,
        "algorithm.adv_estimator": "grpo",
        "trainer.val_before_train": False,
        "trainer.n_gpus_per_node": 8,
        "trainer.nnodes": 1,
        "trainer.save_freq": 15,
        "trainer.total_training_steps": 15 * (3920 // 512),
    }
    usual = {
        f"{actor}.loss_agg_mode": "token-mean",
        f"{actor}.ppo_max_token_len_per_gpu": 16384,
        f"{actor}.clip_ratio_c": 3.0,
        f"{actor}.optim.weight_decay": 0.01,
        f"{actor}.clip_ratio": 0.2,
        f"{rollout}.temperature": 1.0,
        "algorithm.rollout_correction.rollout_is": None,
        "algorithm.norm_adv_by_std_in_grpo": True,
    }
    for key, value in (script | usual).items():
        assert settings[key] == value, key
    own = apply_method(recipe, PRESETS["official"])
    assert own.model_dump() == recipe.model_dump()
