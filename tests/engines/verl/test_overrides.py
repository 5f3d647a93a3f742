"""A recipe as verl's settings; tests/engines/verl/test_config.py reads them against verl itself."""

import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.engines.verl.checks import verl_notes
from toolrest.engines.verl.hydra import hydra_value, shell_command
from toolrest.engines.verl.names import STATE_FILE
from toolrest.engines.verl.overrides import run_paths, verl_command, verl_overrides
from toolrest.errors import InputError
from toolrest.recipe import load_recipe

ACTOR = "actor_rollout_ref.actor"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"
RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("verl-*.yaml"))
PATHS = run_paths(Path("/runs/one"), evaluated=True)


def recipe(*overrides):
    return load_recipe(
        None, ["engine=verl", "policy=Qwen/Qwen3-1.7B", "data.path=rows.parquet", *overrides]
    )


def settings(*overrides):
    return verl_overrides(recipe(*overrides), "one", PATHS)


def test_generations_updates_and_forwards():
    found = settings(
        "rollout.prompts_per_step=512",
        "rollout.group_size=4",
        "optimizer.mini_batch=64",
        "optimizer.micro_batch=4",
        "optimizer.iterations=2",
        "engine.processes=8",
        "engine.nodes=2",
        "max_steps=160",
        "save_steps=32",
        "evaluation.every=48",
    )
    # 512 / 64 mini-batches, twice: 16 optimiser steps a generation
    assert found["trainer.total_training_steps"] == 10
    assert found["trainer.save_freq"] == 2
    assert found["trainer.test_freq"] == 3
    assert found["data.train_batch_size"] == 512
    assert found[f"{ACTOR}.ppo_mini_batch_size"] == 64
    assert found[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] == 4
    assert found[f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu"] == 4
    assert found[f"{ACTOR}.ppo_epochs"] == 2
    assert found[f"{ROLLOUT}.n"] == 4
    assert (found["trainer.nnodes"], found["trainer.n_gpus_per_node"]) == (2, 8)


@pytest.mark.parametrize(("written", "kept"), [("", 2), ("5", 5), ("null", None)])
def test_how_many_checkpoints_are_kept(written, kept):
    found = settings(*([f"keep_checkpoints={written}"] if written else []))
    assert found["trainer.max_actor_ckpt_to_keep"] == kept
    assert hydra_value(kept) == ("null" if kept is None else str(kept))


@pytest.mark.parametrize(
    ("wanted", "mend"),
    [
        ("evaluation.save_best=true", "keep_checkpoints=null"),
        ("evaluation.patience=3", "lower max_steps"),
        ("evaluation.metric=reward", "greedy_reward"),
    ],
)
def test_what_verl_cannot_do_with_its_evaluations_is_refused_with_the_mend(wanted, mend):
    with pytest.raises(InputError, match=rf"^{wanted.partition('=')[0]}.*{mend}"):
        settings("evaluation.every=10", wanted)


def test_the_best_policy_of_verl_is_by_greedy_evaluations():
    assert recipe("evaluation.every=10").best_by == "greedy_exact_match"
    asked = recipe("evaluation.every=10", "evaluation.metric=greedy_reward")
    assert asked.best_by == "greedy_reward" and settings("evaluation.every=10")


@pytest.mark.parametrize("before", [True, False])
def test_verl_validates_before_training_as_the_recipe_says(before):
    found = settings(f"evaluation.before={str(before).lower()}")
    assert found["trainer.val_before_train"] is before


def test_a_forward_takes_a_processs_whole_part_by_default():
    found = settings("rollout.prompts_per_step=16", "rollout.group_size=8", "engine.processes=4")
    assert found[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] == 32


def test_the_loss_is_the_papers():
    found = settings("optimizer.clip_epsilon_high=0.28")
    assert found[f"{ACTOR}.policy_loss.loss_mode"] == "toolrest_vanilla"
    assert found[f"{ACTOR}.loss_agg_mode"] == "seq-mean-token-mean"
    assert found[f"{ACTOR}.clip_ratio_c"] == 1e6
    assert (found[f"{ACTOR}.clip_ratio_low"], found[f"{ACTOR}.clip_ratio_high"]) == (0.2, 0.28)
    assert found[f"{ACTOR}.use_kl_loss"] is False
    assert found["algorithm.use_kl_in_reward"] is False
    assert found["algorithm.norm_adv_by_std_in_grpo"] is True
    assert settings("optimizer.loss=dapo")[f"{ACTOR}.loss_agg_mode"] == "token-mean"
    dr_grpo = settings(
        "optimizer.loss=dr_grpo", "advantage.scale=none", "rollout.max_response_tokens=512"
    )
    assert dr_grpo[f"{ACTOR}.loss_agg_mode"] == "seq-mean-token-sum-norm"
    assert dr_grpo[f"{ACTOR}.loss_scale_factor"] == 512
    assert dr_grpo["algorithm.norm_adv_by_std_in_grpo"] is False


def test_the_optimiser_s_keys_and_the_kl_term():
    found = settings()
    optim = f"{ACTOR}.optim"
    assert (found[f"{optim}.lr_scheduler_type"], found[f"{optim}.weight_decay"]) == ("constant", 0)
    assert f"{optim}.lr_warmup_steps" not in found and f"{optim}.optimizer" not in found
    assert f"{ACTOR}.kl_loss_coef" not in found
    assert not any("filter_groups" in key for key in found)
    found = settings(
        *("optimizer.schedule=cosine", "optimizer.weight_decay=0.1", "optimizer.beta=0.003"),
        *("optimizer.name=paged_adamw_8bit", "advantage.filter_groups=true"),
    )
    assert (found[f"{optim}.lr_scheduler_type"], found[f"{optim}.weight_decay"]) == ("cosine", 0.1)
    assert found[f"{optim}.optimizer"] == "PagedAdamW8bit"
    assert found[f"{optim}.optimizer_impl"] == "bitsandbytes.optim"
    assert found[f"{ACTOR}.use_kl_loss"] is True and found[f"{ACTOR}.kl_loss_coef"] == 0.003
    assert found[f"{ACTOR}.kl_loss_type"] == "low_var_kl"  # k3, as TRL's
    ref = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu"
    assert found[ref] == found[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] and ref not in settings()
    assert found["algorithm.filter_groups.enable"] is True


def test_a_warm_up_is_as_long_as_verl_counts_it():
    """verl moves the rate once a generation; once an update where it samples apart."""
    split = ("rollout.prompts_per_step=64", "optimizer.mini_batch=16", "save_steps=4")
    steps = ("max_steps=40", "optimizer.warmup_steps=12")
    key = f"{ACTOR}.optim.lr_warmup_steps"
    assert settings(*split, *steps)[key] == 3
    apart = ("engine.mode=separate_async", f"engine.options={{{ROLLOUT}.nnodes: 1}}")
    assert settings(*split, *steps, *apart)[key] == 12
    with pytest.raises(InputError, match=r"optimizer.warmup_steps=13.*use 16"):
        settings(*split, "max_steps=40", "optimizer.warmup_steps=13")


def test_sampling_of_the_likeliest():
    found = settings("rollout.top_p=0.9", "rollout.top_k=20")
    assert (found[f"{ROLLOUT}.top_p"], found[f"{ROLLOUT}.top_k"]) == (0.9, 20)
    assert (settings()[f"{ROLLOUT}.top_p"], settings()[f"{ROLLOUT}.top_k"]) == (1.0, -1)


def test_our_trainer_and_what_it_reads():
    found = settings("weighting={scheme: rest, options: {curriculum: false}}", "dialect=hermes")
    assert found["trainer.v1.trainer_mode"] == "toolrest_sync"
    assert found["+toolrest.scheme"] == "rest"
    assert found["+toolrest.options"] == {"curriculum": False}
    assert found["+toolrest.dialect"] == "hermes"
    assert found["+toolrest.reward_schedule"] == "rest"
    variables = "+ray_kwargs.ray_init.runtime_env.env_vars"
    assert found[f"{variables}.VERL_USE_EXTERNAL_MODULES"] == "toolrest.engines.verl.plugin"
    assert found[f"{variables}.VERL_FILE_LOGGER_PATH"] == "/runs/one/verl/metrics-000000.jsonl"


def test_prompts_that_the_template_words_are_written_out():
    key = "actor_rollout_ref.model.custom_chat_template"
    assert key not in settings("dialect=rlla")
    assert "message.content" in settings("dialect=hermes")[key]
    assert key not in settings("dialect=hermes", "data.prompt=plain")


def test_forwards_by_tokens():
    found = settings("optimizer.micro_tokens=20000")
    assert found[f"{ACTOR}.use_dynamic_bsz"] is True
    assert found[f"{ACTOR}.ppo_max_token_len_per_gpu"] == 20000
    assert not [key for key in found if "micro_batch_size" in key]


def test_lora():
    found = settings("lora={rank: 16, alpha: 32, target_modules: [q_proj, v_proj]}")
    assert found["actor_rollout_ref.model.lora_rank"] == 16
    assert found["actor_rollout_ref.model.lora_alpha"] == 32
    assert found["actor_rollout_ref.model.target_modules"] == ["q_proj", "v_proj"]
    assert found[f"{ROLLOUT}.load_format"] == "safetensors"


def test_asynchronous_trainers():
    assert settings("engine.mode=colocate_async")["trainer.v1.trainer_mode"] == (
        "toolrest_colocate_async"
    )
    found = settings(
        "engine.mode=separate_async",
        f"engine.options={{{ROLLOUT}.nnodes: 1}}",
        "optimizer.mini_batch=4",
        "max_steps=24",
        "save_steps=8",
    )
    # verl wants data.train_batch_size = parameter_sync_step * ppo_mini_batch_size
    assert found["trainer.v1.separate_async.parameter_sync_step"] == 4
    assert found[f"{ROLLOUT}.checkpoint_engine.backend"] == "nccl"


def test_options_come_last_and_replace_ours():
    found = settings(
        f"engine.options={{{ACTOR}.optim.weight_decay: 0.1, ++toolrest_free.key: 1, "
        f"{ACTOR}.policy_loss.loss_mode: cispo}}"
    )
    assert found[f"{ACTOR}.optim.weight_decay"] == 0.1
    assert found["++toolrest_free.key"] == 1
    assert found[f"{ACTOR}.policy_loss.loss_mode"] == "toolrest_cispo"
    assert f"{ACTOR}.clip_ratio_c" not in found


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["policy=embedded"], "policy=embedded"),
        (["data.path=null"], "data.path"),
        (["method=sft"], "engine=trl"),
        (["warm_start.method=sft"], "runs/<name>/warm_start"),
        (["advantage.scale=batch"], "group or none"),
        (["optimizer.loss=luspo"], "optimizer.loss=luspo"),
        (["rollout.sampler=generate"], "rollout.sampler=generate"),
        (["rollout.vllm.mode=server"], "server"),
        (["lora={rank: 8, dropout: 0.1}"], "lora.dropout"),
        (["weighting.options={rule: collision}"], "rule=collision"),
        (["weighting.scheme=signal"], "weighting.scheme=signal: .*use engine=trl"),
        (["max_steps=25", "optimizer.iterations=2"], "max_steps=25.*use 26"),
        (["evaluation.every=3", "optimizer.iterations=2", "max_steps=4"], "evaluation.every=3"),
        (["engine.mode=separate_async"], "rollout.nnodes: 1"),
        (["optimizer.prefix_sharing=on"], "each row by itself"),
        (["optimizer.micro_tokens=900"], "longest sequence, 1216 tokens"),
        (["rollout.min_p=0.1"], "top_p and top_k alone"),
        (["optimizer.schedule=linear"], "constant and cosine"),
        (["optimizer.mask_truncated=true"], "optimizer.mask_truncated: verl has no such"),
        (["optimizer.clip_by=region_entropy"], "clip_by=region_entropy: .*takes one range"),
        (["optimizer.llds=0.2"], "optimizer.llds=0.2: verl's loss has no such term"),
        (["lora={rank: 8, base_precision: nf4}"], "no policy in 4 bits"),
    ],
)
def test_what_verl_cannot_do_is_refused(overrides, words):
    with pytest.raises(InputError, match=words):
        settings(*overrides)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("algorithm.rollout_correction.bypass_mode: true", "entropies"),
        (f"{ACTOR}.policy_loss.loss_mode: kl_cov", "kl_cov: that loss does not weigh"),
        (f"{ACTOR}.policy_loss.loss_mode: geo_mean", "geo_mean"),
        (f"+{ACTOR}.policy_loss.loss_mode: clip_cov", "clip_cov"),
        ("trainer.use_v1: false", "use_v1"),
        (f"{ACTOR}.use_prefix_grouper: true", "none of its workers shares"),
        ("trainer.v1.trainer_mode: sync", "engine.mode"),
        ("distillation.enabled: true", "distillation"),
        ("+toolrest.scheme: uniform", "comes from the recipe"),
        ("reward.custom_reward_function.path: mine.py", "reward.schedule=constant"),
    ],
)
def test_options_that_break_the_weights_are_refused(option, words):
    with pytest.raises(InputError, match=words):
        settings(f"engine.options={{{option}}}")


ENVIRONMENT = ["data.path=null", "environment.source=world", "dialect=rlla"]


def acting(*overrides):
    return settings(*ENVIRONMENT, *overrides)


def test_an_environment_is_played_by_our_agent_loop():
    found = acting(
        "rollout.max_response_tokens=100",
        "environment={source: world, max_turns: 3, max_trajectory_tokens: 700, failure: stop}",
        "advantage={credit: turns, discount: 0.5}",
        "optimizer.loss=dr_grpo",
        "weighting.normalise=trajectory",
    )
    assert found[f"{ROLLOUT}.agent.default_agent_loop"] == "toolrest_episode"
    assert f"{ROLLOUT}.agent.num_workers" not in found
    assert found["data.max_response_length"] == 700
    assert found[f"{ACTOR}.loss_scale_factor"] == 700
    assert f"{MODEL}.custom_chat_template" not in found
    assert not any("custom_reward_function" in key for key in found)
    assert found["+toolrest.credit"] == "turns" and found["+toolrest.discount"] == 0.5
    assert found["+toolrest.normalise"] == "trajectory"
    told = found["+toolrest.environment"]
    assert (told["max_turns"], told["max_turn_tokens"], told["max_tokens"]) == (3, 100, 700)
    assert (told["style"], told["failure"]) == ("plain", "stop")
    assert told["output"] == "/runs/one/environment.log"
    assert "+toolrest.environment" not in settings()


def test_template_options_reach_an_environment_s_prompts_by_ourselves():
    found = acting("data.template_options={enable_thinking: false}", "data.prompt=template")
    assert found["+toolrest.environment"]["template_options"] == {"enable_thinking": False}
    assert "+data.apply_chat_template_kwargs" not in found


def test_a_server_is_asked_by_one_worker_which_can_tell_its_room():
    found = acting("environment.source=http://127.0.0.1:8000")
    assert found[f"{ROLLOUT}.agent.num_workers"] == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reward.function=mine.py:f"], "the environment gives all rewards"),
        (["advantage.credit=spans"], "spans are parts of one response"),
        (["data.prompt=rlla"], "no turn can follow"),
        (
            ["engine.options={actor_rollout_ref.rollout.name: sglang}"],
            "told to vLLM",
        ),
        (
            ["engine.options={algorithm.rollout_correction.rollout_rs: token_k1}"],
            "cut the turns of an episode in two",
        ),
        (
            ["engine.options={actor_rollout_ref.rollout.agent.default_agent_loop: tool_agent}"],
            "plays the recipe's environment",
        ),
        (
            ["engine.options={actor_rollout_ref.rollout.multi_turn.enable: true}"],
            "plays the recipe's environment",
        ),
        (
            ["engine.options={reward.custom_reward_function.path: mine.py}"],
            "the environment gives the rewards",
        ),
    ],
)
def test_what_an_environment_cannot_have_on_verl_is_refused(overrides, words):
    with pytest.raises(InputError, match=words):
        acting(*overrides)


def test_spans_need_our_own_reward():
    assert settings("advantage.credit=spans")["+toolrest.credit"] == "spans"
    with pytest.raises(InputError, match="no parts to credit spans with"):
        settings(
            "advantage.credit=spans",
            "engine.options={reward.custom_reward_function.path: mine.py}",
            "reward.schedule=constant",
        )


def test_dual_clip_left_on_is_said():
    assert verl_notes(recipe()) == []
    (note,) = verl_notes(recipe(f"engine.options={{{ACTOR}.clip_ratio_c: 3.0}}"))
    assert "dual clip is on" in note


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (1e-6, "1e-06"),
        ("Qwen/Qwen3-1.7B", "Qwen/Qwen3-1.7B"),
        ("1.5", "'1.5'"),
        ("true", "'true'"),
        ("it's", r"'it\'s'"),
        ("", "''"),
        (["a", "b c"], "[a,'b c']"),
        ({"options": {"low": 0.5}, "on": False}, "{options:{low:0.5},on:false}"),
    ],
)
def test_values_in_hydras_grammar(value, written):
    assert hydra_value(value) == written


def test_the_command_survives_the_shell():
    environment, arguments = verl_command(recipe("name=it-s"), "it's one", PATHS)
    words = shlex.split(shell_command(environment, arguments).replace("\\\n", " "))
    assert words[len(environment) :] == arguments
    assert words[: len(environment)] == [f"{k}={v}" for k, v in environment.items()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_dry_run_of_every_shipped_recipe(path):
    result = CliRunner().invoke(app, ["train", str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    comment, command = result.stdout.split("\n", 1)
    assert comment.startswith("# ")
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    assert "verl.trainer.main_ppo" in words
    assert "trainer.v1.trainer_mode=toolrest_sync" in words


def test_recipes_for_verl_are_shipped():
    assert RECIPES


def test_engine_is_an_option_of_train():
    words = ["train", "--engine", "verl", "--dry-run", "policy=Qwen/Qwen3-1.7B"]
    result = CliRunner().invoke(app, [*words, "data.path=rows.parquet"])
    assert result.exit_code == 0, result.output
    assert "verl.trainer.main_ppo" in result.output
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "data.path" in refused.output


def a_run_of_verl(folder, newest):
    """A run's folder as verl leaves it after its fifth generation."""
    checkpoint = folder / "checkpoints" / "global_step_5"
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE_FILE).write_text("{}")
    (folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(newest)
    values = {"engine": "verl", "policy": "Qwen/Qwen3-1.7B", "data": {"path": "rows.parquet"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_dry_run_of_a_run_that_goes_on_writes_beside_its_metrics(tmp_path, monkeypatch):
    """verl's logger empties a file that is there."""
    monkeypatch.chdir(tmp_path)
    run = a_run_of_verl(tmp_path / "runs" / "v", "5")
    found = CliRunner().invoke(app, ["train", "--resume", str(run), "--dry-run"])
    assert found.exit_code == 0, found.output
    assert "metrics-000005.jsonl" in found.stdout and "metrics-000000" not in found.stdout


@pytest.mark.parametrize("newest", ["", "five", "5.5"])
def test_a_broken_number_of_the_newest_checkpoint_is_one_line(tmp_path, monkeypatch, newest):
    monkeypatch.chdir(tmp_path)
    run = a_run_of_verl(tmp_path / "runs" / "v", newest)
    found = CliRunner().invoke(app, ["train", "--resume", str(run), "--dry-run"])
    assert found.exit_code == 2 and found.stderr.count("\n") == 1, found.output
    assert "latest_checkpointed_iteration.txt: cannot be read" in found.stderr
