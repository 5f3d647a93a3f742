"""What TRL is told of a recipe."""

import json

import pytest
import torch
from jobs import make_job

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.engines.common.asked import asked_by
from toolrest.engines.common.batch import RolloutBatch
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.launch import _rollout_writer, train_with_trl, trl_config
from toolrest.engines.trl.settings import uses_bfloat16
from toolrest.errors import InputError
from toolrest.evaluate.score_file import score_file
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.tasks import Split, make_samples


def told(tmp_path, *overrides):
    return trl_config(load_recipe(None, list(overrides)), tmp_path)


def test_a_generation_is_split_into_optimiser_steps(tmp_path):
    """16 prompts x 8 responses in steps of 4 prompts: 32 responses a step, 8 a forward."""
    split = ("optimizer.mini_batch=4", "optimizer.micro_batch=8", "save_steps=4")
    config = told(tmp_path, *split, "optimizer.prefix_sharing=off")
    assert (config.prefix_sharing, config.micro_tokens) == ("off", None)
    assert config.per_device_train_batch_size == 8
    assert config.gradient_accumulation_steps == 4
    assert config.steps_per_generation == 16
    assert config.generation_batch_size == 128


def test_processes_share_the_responses_of_a_step(tmp_path):
    split = ("engine.processes=2", "optimizer.micro_batch=16", "optimizer.prefix_sharing=off")
    config = told(tmp_path, *split)
    assert config.per_device_train_batch_size == 16
    assert config.gradient_accumulation_steps == 4


def test_forwards_that_share_prefixes_are_cut_by_tokens(tmp_path):
    """As many tokens as micro_batch whole responses with their prompts would have."""
    config = told(tmp_path, "optimizer.mini_batch=4", "optimizer.micro_batch=8", "save_steps=4")
    longest = Recipe().data.max_prompt_tokens + Recipe().rollout.max_response_tokens
    assert (config.prefix_sharing, config.micro_tokens) == ("auto", 8 * longest)
    assert config.per_device_train_batch_size == 32
    assert config.gradient_accumulation_steps == 1
    assert config.steps_per_generation == 4
    assert config.generation_batch_size == 128
    assert told(tmp_path).micro_tokens is None  # all of a step in one forward
    assert told(tmp_path, "optimizer.micro_tokens=99").micro_tokens == 99
    sharded = ("engine.processes=2", "engine.sharding=fsdp", "optimizer.micro_batch=16")
    config = told(tmp_path, *sharded)
    assert (config.per_device_train_batch_size, config.micro_tokens) == (16, None)


def test_vllm_is_told_where_and_how(tmp_path):
    config = told(
        tmp_path,
        "rollout.sampler=vllm",
        "rollout.vllm.memory=0.4",
        "rollout.vllm.tensor_parallel=2",
    )
    assert (config.use_vllm, config.vllm_mode) == (True, "colocate")
    assert config.vllm_gpu_memory_utilization == 0.4
    assert config.vllm_tensor_parallel_size == 2
    assert config.vllm_importance_sampling_correction
    config = told(
        tmp_path,
        "rollout.sampler=vllm",
        "rollout.vllm.mode=server",
        "rollout.vllm.server=http://gpu:8000",
        "rollout.vllm.correction=false",
    )
    assert (config.vllm_mode, config.vllm_server_base_url) == ("server", "http://gpu:8000")
    assert not config.vllm_importance_sampling_correction
    assert not told(tmp_path).use_vllm


def test_bfloat16_is_the_recipe_s_word(tmp_path):
    assert told(tmp_path, "engine.precision=bfloat16").bf16
    assert not told(tmp_path, "engine.precision=float32").bf16


@pytest.mark.parametrize(
    ("gpu", "computes", "bfloat16"),
    [(True, True, True), (True, False, False), (False, None, False)],
)
def test_bfloat16_unasked_is_for_gpus_that_compute_in_it(gpu, computes, bfloat16, monkeypatch):
    """PyTorch says of older GPUs that they support it, as it can be emulated there."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(
        "torch.cuda.is_bf16_supported",
        lambda including_emulation=True: including_emulation or computes,
    )
    assert uses_bfloat16(Recipe()) == bfloat16
    for said in ("float32", "bfloat16"):
        asked = load_recipe(None, [f"engine.precision={said}"])
        assert uses_bfloat16(asked) == (said == "bfloat16")


def test_without_vllm_the_extra_is_named(tmp_path, embedded_tokenizer, embedded_model):
    recipe = load_recipe(None, ["rollout.sampler=vllm"])
    samples = make_samples(Split.TRAIN, 16)
    job = make_job(recipe, tmp_path, embedded_tokenizer, samples)
    with pytest.raises(InputError, match=r"toolrest\[vllm\]"):
        train_with_trl(job, embedded_model, lambda _: None)


@pytest.mark.slow
def test_mini_batches_train_on_one_generation(tmp_path, embedded_tokenizer):
    """Two optimiser steps a generation; bfloat16 and recomputed activations on the way."""
    recipe = load_recipe(
        None,
        [
            "max_steps=4",
            "save_steps=4",
            "rollout.prompts_per_step=4",
            "rollout.group_size=4",
            "rollout.max_response_tokens=48",
            "optimizer.mini_batch=2",
            "optimizer.gradient_checkpointing=true",
            "engine.precision=bfloat16",
        ],
    )
    job = make_job(recipe, tmp_path, embedded_tokenizer, make_samples(Split.TRAIN, 8))
    run = job.run
    steps = train_with_trl(job, load_policy(recipe), lambda _: None)
    assert steps == 4
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["grad_norm"] >= 0 for line in lines)
    assert len(list(run.rollouts.glob("step-*.jsonl"))) == 2


CALL = "<tool_call>\n<function=f>\n<parameter=x>\n{}\n</parameter>\n</function>\n</tool_call>"
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TYPED = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]


@pytest.mark.parametrize("dialect", ["qwen_xml", "hermes"])
@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_saved_rollouts_are_scored_again_as_they_were_in_training(
    tmp_path, embedded_tokenizer, embedded_model, dialect, opening
):
    """Their records have what the dialect reads values by, and what the prompt had written."""
    recipe = load_recipe(None, [f"dialect={dialect}", "data.path=r.jsonl", "rollout.group_size=2"])
    job = make_job(recipe, tmp_path, embedded_tokenizer, [])
    truth = CALL.format("5") if dialect == "qwen_xml" else render(dialect, "5")
    said = [truth.replace("5", "5.0"), f"a\n</think>\n{truth}"]
    row = {"prompt": [], "ground_truth": truth, "identity": "0"}
    if dialect == "qwen_xml":
        row["tools"] = json.dumps(TYPED)
    ids = [embedded_tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
    shape = (2, max(map(len, ids)))
    mask = torch.zeros(shape, dtype=torch.bool)
    padded = torch.zeros(shape, dtype=torch.int64)
    for number, each in enumerate(ids):
        padded[number, : len(each)] = torch.tensor(each)
        mask[number, : len(each)] = True
    asked = [asked_by(row, opening)] * 2
    found = recipe_reward(recipe, "constant").score_batch(said, asked)
    zeros = torch.zeros(shape)
    write = _rollout_writer(job, embedded_model)
    assert write is not None
    write(
        RolloutBatch(
            *(0, [row, row], padded, mask, mask, zeros.long(), zeros, torch.zeros(2), None, found),
            openings=[opening] * 2,
        )
    )
    (path,) = job.run.rollouts.glob("*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["response"] for record in records] == said
    assert [record.get("tools") for record in records] == [
        TYPED if dialect == "qwen_xml" else None
    ] * 2
    output = tmp_path / "again.jsonl"
    score_file(path, ToolReward(dialect, "constant"), output)
    again = [json.loads(line)["total"] for line in output.read_text().splitlines()]
    assert again == [each.total for each in found]
    assert len(set(again)) == 2


def render(dialect, value):
    call = ToolCall("f", {"x": value})
    return get_dialect(dialect).render(thought=None, calls=[call], response=None)
