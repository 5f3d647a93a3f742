"""verl's own configuration files read our settings, key by key. Needs verl."""

import importlib.util
import inspect
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="tests/engines/verl/environment.sh makes an environment with it")

from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.config import omega_conf_to_dataclass, validate_config

from toolrest.core.dialects import get_dialect
from toolrest.data.sample import Sample
from toolrest.engines.verl.hydra import hydra_value
from toolrest.engines.verl.launch import _VALIDATION
from toolrest.engines.verl.names import ACTOR, DUAL_CLIP
from toolrest.engines.verl.overrides import run_paths, verl_overrides
from toolrest.engines.verl.reward_function import compute_score
from toolrest.engines.verl.rows import write_rows
from toolrest.experiments.methods import PRESETS, apply_method
from toolrest.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("verl-*.yaml"))
OWN = ("toolrest.", "ray_kwargs.ray_init.runtime_env.env_vars.")
OWN_KEY = "reward.custom_reward_function.reward_kwargs"
SEPARATE = "actor_rollout_ref.rollout.nnodes: 1"
VARIANTS = {
    "all-defaults": [],
    "odd-scheme": ["weighting={scheme: rest*stare, options: {rest: {curriculum: false}}}"],
    "template": ["dialect=hermes"],
    "lora": ["lora={rank: 8, target_modules: [q_proj, v_proj]}", "engine.precision=float32"],
    "by-tokens": ["optimizer.micro_tokens=20000", "optimizer.beta=0.01"],
    "colocate": ["engine.mode=colocate_async"],
    "separate": ["engine.mode=separate_async", f"engine.options={{{SEPARATE}}}"],
    "dr_grpo": ["optimizer.loss=dr_grpo", "advantage.scale=none", "evaluation.samples=0"],
    "keys": [
        *("optimizer.schedule=cosine", "optimizer.warmup_steps=5", "optimizer.weight_decay=0.1"),
        *("optimizer.beta=0.003", "optimizer.name=adamw_8bit", "advantage.filter_groups=true"),
        *("rollout.top_p=0.9", "rollout.top_k=20"),
    ],
    "cispo": [f"engine.options={{{ACTOR}.policy_loss.loss_mode: cispo}}"],
}


OF_THE_PAPER = (
    *("grpo", "dr_grpo", "rest_kl", "rest_constant_reward", "rest_no_reasoning"),
    *("rest_no_curriculum", "official", "stare", "gtpo"),
)
"""Presets of docs/paper.md that no shipped recipe is, and two schemes that read tokens."""


def recipe(*overrides):
    start = ["engine=verl", "policy=Qwen/Qwen3-1.7B", "data.path=rows.parquet", "name=one"]
    return load_recipe(None, [*start, *overrides])


def shipped_and_variants():
    for path in RECIPES:
        yield pytest.param(load_recipe(path, []), id=path.stem)
    papers = load_recipe(RECIPES[0].with_name("verl-qwen3-8b.yaml"), [])
    for name in OF_THE_PAPER:
        yield pytest.param(apply_method(papers, PRESETS[name]), id=f"paper-{name}")
    for name, overrides in VARIANTS.items():
        yield pytest.param(recipe(*overrides), id=name)


def composed(settings):
    """verl's configuration with the settings as its command line gets them."""
    written = [f"{key}={hydra_value(value)}" for key, value in settings.items()]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=written, return_hydra_config=True)


def settings_of(given, folder):
    paths = run_paths(folder, evaluated=given.evaluation.samples > 0)
    return verl_overrides(given, "one", paths)


@pytest.fixture(scope="module")
def plain():
    """verl's configuration as it is."""
    return composed({})


@pytest.mark.parametrize("given", shipped_and_variants())
def test_every_key_is_verls_and_has_our_value(given, tmp_path, plain):
    settings = settings_of(given, tmp_path)
    config = composed(settings)
    for key, value in settings.items():
        name = key.lstrip("+")
        if key.startswith("+"):
            assert name.startswith(OWN) or name == OWN_KEY, key
            assert OmegaConf.select(plain, name) is None, f"{key}: verl has it; leave the + out"
        else:
            parent, _, last = name.rpartition(".")
            assert last in list(OmegaConf.select(plain, parent)), f"{key} is no key of verl"
        found = OmegaConf.select(config, name)
        found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        assert found == value, key


@pytest.mark.parametrize("given", shipped_and_variants())
def test_verls_own_checks_pass(given, tmp_path, monkeypatch):
    # verl asks an installed vLLM how large an adapter it takes; there is none here.
    config = composed(settings_of(given, tmp_path))
    if given.lora.rank:
        config.actor_rollout_ref.rollout.name = "sglang"
    validate_config(config, use_reference_policy=given.optimizer.beta > 0, use_critic=False)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert actor.loss_agg_mode == settings_of(given, tmp_path)[f"{ACTOR}.loss_agg_mode"]
    assert actor.optim.clip_grad == given.optimizer.max_grad_norm
    if DUAL_CLIP in settings_of(given, tmp_path):
        assert actor.clip_ratio_c == given.engine.options.get(DUAL_CLIP, 1e6)


@pytest.mark.parametrize(
    "key", ["trainer.nonsense", f"{ACTOR}.clip_ratio_x", "data.train_file", "toolrest.scheme"]
)
def test_an_unknown_key_does_not_compose(key):
    with pytest.raises(ConfigCompositionException):
        composed({key: 1})


def test_the_defaults_that_we_rely_on(plain):
    assert plain.trainer.use_v1 is True
    assert plain.actor_rollout_ref.actor.clip_ratio_c == 3.0
    assert plain.algorithm.filter_groups.enable is False
    assert plain.actor_rollout_ref.rollout.calculate_log_probs is True
    assert plain.actor_rollout_ref.actor.optim.lr_warmup_steps == -1
    assert plain.actor_rollout_ref.actor.optim.lr_warmup_steps_ratio == 0.0
    assert (plain.actor_rollout_ref.rollout.top_p, plain.actor_rollout_ref.rollout.top_k) == (1, -1)


def test_the_reward_function_as_verl_loads_it(tmp_path):
    given = recipe(
        "dialect=hermes", "reward={correctness: {partial: 1, exact: 1}, lenient_types: true}"
    )
    config = composed(settings_of(given, tmp_path))
    loaded = get_custom_reward_fn(config)
    truth = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    wrong = truth.replace("1", "2")
    found = loaded(data_source="any", solution_str=wrong, ground_truth=truth, extra_info={})
    keywords = {"dialect": "hermes", "correctness": {"partial": 1, "exact": 1}}
    assert found == compute_score("any", wrong, truth, lenient_types=True, **keywords)
    assert found["correctness"] == pytest.approx(1 / 3)


def test_the_reward_manager_reads_ids_as_sampled(tmp_path, embedded_tokenizer):
    """verl's own would drop special tokens; a dialect's marks can be such."""
    from verl.trainer.ppo.reward import load_reward_manager

    given = recipe("dialect=rlla")
    config = composed(settings_of(given, tmp_path))
    manager = load_reward_manager(config, embedded_tokenizer)
    assert type(manager).__name__ == "ToolRewardManager"
    written = "<think>so</think>\n<response>it is é</response>"
    ids = embedded_tokenizer(written, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    assert manager.tokenizer.decode(ids, skip_special_tokens=True) == written


def test_validation_metrics_have_the_names_that_we_read():
    scores = {"reward": [1.0, 4.0], "exact_match": [0.0, 1.0]}
    found = process_validation_metrics(["toolrest"] * 2, ["a", "b"], scores)
    assert set(found["toolrest"]) == {"reward", "exact_match"}
    assert found["toolrest"]["exact_match"]["mean@1"] == 0.5
    assert _VALIDATION["greedy_exact_match"] == "val-aux/toolrest/exact_match/mean@1"


def datasets_of(config, tokenizer, files):
    from verl.utils.dataset.rl_dataset import RLHFDataset

    return RLHFDataset(data_files=str(files), tokenizer=tokenizer, config=config.data)


def test_verl_reads_the_rows_that_we_write(tmp_path, embedded_tokenizer):
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
    }
    sample = Sample(
        prompt=({"role": "user", "content": "Hi"},),
        ground_truth="truth",
        source="s",
        identity="row 7",
        tools=(tool,),
    )
    config = composed(settings_of(recipe("dialect=rlla"), tmp_path))
    path = tmp_path / "rows.parquet"
    write_rows([sample], path, embedded_tokenizer, get_dialect("rlla"), written_out=False)
    (row,) = datasets_of(config, embedded_tokenizer, path)
    assert row["raw_prompt"] == [{"role": "user", "content": "Hi"}]
    assert row["reward_model"]["ground_truth"] == "truth"
    assert row["extra_info"]["identity"] == "row 7"


def test_a_prompt_written_out_has_the_templates_tokens(tmp_path, embedded_tokenizer):
    from verl.utils.tokenizer.continuous_token import ContinuousTokenBuilder

    from toolrest.data.prompts import render_prompt

    sample = Sample(({"role": "user", "content": "What is é?"},), "truth", "s", "row 1")
    path = tmp_path / "rows.parquet"
    write_rows([sample], path, embedded_tokenizer, get_dialect("rlla"), written_out=True)
    settings = settings_of(recipe("dialect=hermes"), tmp_path)
    (row,) = datasets_of(composed(settings), embedded_tokenizer, path)
    raw = type(embedded_tokenizer).from_pretrained(embedded_tokenizer.name_or_path)
    raw.chat_template = settings["actor_rollout_ref.model.custom_chat_template"]
    found = ContinuousTokenBuilder(raw).build_initial_tokens(row["raw_prompt"])
    assert list(found) == render_prompt(sample, embedded_tokenizer)


def test_an_rlla_parquet_is_read_as_it_is(tmp_path, data_folder, embedded_tokenizer):
    config = composed(settings_of(recipe("dialect=rlla"), tmp_path))
    rows = datasets_of(config, embedded_tokenizer, data_folder / "rlla_test.parquet")
    assert len(rows) > 10
    loaded = get_custom_reward_fn(config)
    for row in [rows[at] for at in range(10)]:
        assert [message["role"] for message in row["raw_prompt"]][-1] == "user"
        truth = row["reward_model"]["ground_truth"]
        right = loaded(
            data_source=row["data_source"], solution_str=truth, ground_truth=truth, extra_info={}
        )
        assert right["exact_match"] == 1.0


def test_the_plug_in_is_declared_for_verl():
    from importlib.metadata import entry_points

    declared = {entry.value for entry in entry_points(group="verl.plugins")}
    assert "toolrest.engines.verl.plugin" in declared
    assert importlib.util.find_spec("toolrest.engines.verl.plugin") is not None


def test_the_fields_that_the_loss_reads_are_still_those():
    """The self-check stands on these: our loss is called with the queue's advantages."""
    from verl.workers.utils.losses import ppo_loss

    source = inspect.getsource(ppo_loss)
    assert 'advantages = data["advantages"]' in source
    assert "get_policy_loss_fn(loss_mode)" in source


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rates_are_those_of_the_other_engine(schedule):
    """verl's schedule against transformers', which TRL takes, over a run with a warm-up."""
    import torch
    from transformers import get_scheduler
    from verl.utils import torch_functional

    def rates(make):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([weight], lr=1.0)
        made, found = make(optimizer), []
        for _ in range(20):
            found.append(made.get_last_lr()[0])
            optimizer.step()
            made.step()
        return found

    name = "constant_with_warmup" if schedule == "constant" else "cosine"
    theirs = rates(
        lambda optimizer: (
            torch_functional.get_constant_schedule_with_warmup(optimizer, 5)
            if schedule == "constant"
            else torch_functional.get_cosine_schedule_with_warmup(
                optimizer, num_warmup_steps=5, num_training_steps=20, min_lr_ratio=0.0
            )
        )
    )
    assert theirs == pytest.approx(
        rates(lambda optimizer: get_scheduler(name, optimizer, 5, 20)), abs=1e-9
    )
