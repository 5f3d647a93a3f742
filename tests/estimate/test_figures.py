"""Sums worked out by hand, and what must hold for every recipe."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.estimate import GPUS, PUBLISHED, ModelShape, estimate, get_gpu, get_shape
from toolrest.estimate.gpus import Efficiency
from toolrest.estimate.memory import layer_activation_bytes
from toolrest.estimate.time import head_flops, layers_flops, responses_together, work
from toolrest.recipe import Recipe, parse_recipe

TINY = ModelShape(
    layers=2, hidden=8, heads=2, kv_heads=1, head_dim=4, intermediate=16, vocab=32, tied=True
)
EXACT = Efficiency(flops=1.0, bandwidth=1.0, overhead=0.0)
PAPER = {
    "rollout": {
        "prompts_per_step": 512,
        "group_size": 4,
        "max_response_tokens": 2048,
        "vllm": {"memory": 0.5},
    },
    "data": {"max_prompt_tokens": 2048},
    "optimizer": {"mini_batch": 64, "micro_batch": 4, "gradient_checkpointing": True},
    "engine": {"name": "verl", "processes": 8},
    "save_steps": 8,
    "max_steps": 840,
}


def recipe(values: dict, **sections) -> Recipe:
    merged = dict(values)
    for key, value in sections.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_recipe(merged, "test")


def test_parameters_of_a_tiny_decoder():
    # q 8x8, k and v 8x4, o 8x8, MLP 3 x 8x16: 64 + 64 + 64 + 384
    assert TINY.layer_matrices == 576
    # embedding 32x8, 2 layers of 576 + 2 norms of 8, a last norm of 8
    assert TINY.parameters == 256 + 2 * 592 + 8


def test_operations_of_a_forward():
    # 10 tokens x (2 x 2 layers x 576 + 2 x 2 layers x 8 x 10 tokens)
    assert layers_flops(TINY, 10, 10) == 10 * (2304 + 320)
    assert head_flops(TINY, 10) == 10 * 2 * 256


def test_training_takes_six_operations_a_parameter_and_token_and_attention():
    shape = get_shape("Qwen/Qwen3-4B-Instruct-2507")
    found = estimate(
        recipe(PAPER, optimizer={"gradient_checkpointing": False}), shape, GPUS["h100"]
    )
    per_token = found.work.update_flops / found.tokens
    norms = shape.parameters - shape.head_matrix - shape.layers * shape.layer_matrices
    attention = 3 * 2 * 36 * 4096 * (764 + 600)
    assert per_token == pytest.approx(6 * (shape.parameters - norms) + attention)
    assert norms < 1e-4 * shape.parameters


def test_memory_of_four_billion_parameters_on_eight_gpus():
    shape = get_shape("Qwen/Qwen3-4B-Instruct-2507")
    found = estimate(recipe(PAPER), shape, get_gpu("h100"), efficiency=EXACT).memory
    assert found.weights == 4 * 4_022_468_096 / 8
    assert found.gradients == 4 * 4_022_468_096 / 8
    assert found.optimizer == 8 * 4_022_468_096 / 8
    # the tied embedding and two layers in bfloat16
    assert found.working == 2 * (151_936 * 2560 + 2 * shape.layer_parameters)
    # 4 x 4,096 tokens: 36 inputs of 2,560 x 2 bytes, and one layer whole
    # norms 8 (2 x 2560 + 4096 + 1024), attention 2 (4096 + 1024 + 1024 + 4096), MLP 2 x 4 x 9728
    layer = 8 * 10_240 + 2 * 10_240 + 8 * 9728
    assert layer_activation_bytes(shape, 2) == layer
    assert found.activations == 16_384 * (36 * 5120 + layer)
    assert found.head == 10 * 16_384 * 151_936
    assert found.sampling == 0.5 * 80e9
    assert found.rollout == 16 * 4_022_468_096 / 8 + 40e9
    assert found.peak == max(found.rollout, found.training)


def test_memory_of_adapters_on_one_gpu():
    shape = get_shape("Qwen/Qwen3-4B-Instruct-2507")
    values = recipe(
        PAPER,
        engine={"name": "trl", "processes": 1},
        lora={"rank": 16},
        rollout={"sampler": "vllm"},
    )
    found = estimate(values, shape, get_gpu("h100"), efficiency=EXACT).memory
    assert found.weights == 4 * (4_022_468_096 + 33_030_144)
    assert found.gradients + found.optimizer == 12 * 33_030_144
    # two bytes of a tile of 4,096 x 32,768, and the float32 gradient of its 4 x 2,048 inputs
    assert found.head == 2 * 4096 * 32_768 + 4 * 8192 * 2560
    assert found.training - found.state == found.working + found.activations + found.head + 40e9


def test_decoding_reads_the_weights_once_a_step_and_the_cache_once_a_token():
    shape = get_shape("Qwen/Qwen3-4B-Instruct-2507")
    found = estimate(recipe(PAPER), shape, get_gpu("h200"), 1000, 500, EXACT)
    # 0.5 x 141e9 - 2 N leaves room for 338 caches of 1,250 tokens; each GPU has 256 responses
    assert found.work.running == 256
    assert found.work.decode_steps == 2048
    assert found.work.decode_weight_bytes == 2048 * 2 * 4_022_468_096
    assert found.work.decode_cache_bytes == 256 * 500 * 1250 * 147_456
    read = found.work.decode_weight_bytes + found.work.decode_cache_bytes
    assert found.seconds.decode == read / 4.8e12


def test_a_small_cache_takes_more_steps():
    shape = get_shape("Qwen/Qwen3-14B")
    values = recipe(PAPER, engine={"name": "trl", "processes": 1}, rollout={"sampler": "vllm"})
    found = estimate(values, shape, get_gpu("h100"), 1000, 1000, EXACT)
    # (40e9 - 2 x 14,768,307,200) / (1,500 x 163,840 bytes)
    assert found.work.running == 42
    assert found.work.decode_steps == 2048 * 1000 / 42


def test_parts_make_the_whole():
    found = estimate(recipe(PAPER), get_shape("Qwen/Qwen3-8B"), get_gpu("h100"))
    part = found.seconds
    assert part.total == pytest.approx(
        part.prefill
        + part.decode
        + part.old_log_probs
        + part.weighting
        + part.update
        + part.weight_sync
    )
    assert found.generations == 105
    assert found.run_seconds == pytest.approx(105 * part.total)
    assert found.checkpoint_bytes == 16 * 8_190_735_360
    assert found.disk_bytes == (2 + 3 * 16) * 8_190_735_360


def test_old_log_probs_cost_nothing_where_trl_needs_none():
    values = recipe(
        {**PAPER, "engine": {"name": "trl", "processes": 1}}, optimizer={"mini_batch": 512}
    ).model_dump()
    for weighting, needs in (
        ({"entropy_source": "static"}, False),  # measured once in a run
        ({"scheme": "uniform"}, False),
        ({"entropy_source": "online"}, True),
        ({"entropy_source": "exact"}, True),
    ):
        found = estimate(recipe({**values, "weighting": weighting}), TINY, get_gpu("h100"))
        assert (found.seconds.old_log_probs > 0) == needs, weighting


def test_weights_that_do_not_fit_vllm_are_an_input_error():
    with pytest.raises(InputError, match=r"rollout\.vllm\.memory=0\.5.*29\.5 GB.*tensor_parallel"):
        estimate(recipe(PAPER), get_shape("Qwen/Qwen3-14B"), get_gpu("rtx4090"))


shapes = st.sampled_from(list(PUBLISHED.values()))
engines = st.sampled_from(
    [
        {"name": "verl"},
        {"name": "trl", "sharding": "ddp"},
        {"name": "trl", "sharding": "zero2"},
        {"name": "trl", "sharding": "fsdp"},
    ]
)
samplers = st.sampled_from(["vllm", "generate"])
lora = st.sampled_from([{"rank": 0}, {"rank": 8}, {"rank": 64}])


def found_for(shape, engine, sampler, adapters, processes=8, **sections):
    values = recipe(
        PAPER,
        engine={**engine, "processes": processes},
        lora=adapters,
        rollout={"sampler": sampler, **sections.pop("rollout", {})},
        **sections,
    )
    return estimate(values, shape, get_gpu("h200"), 700, 500)


@given(shapes, engines, samplers, lora, st.sampled_from([1, 2, 4]))
def test_more_gpus_never_need_more_memory_each(shape, engine, sampler, adapters, fewer):
    many = found_for(shape, engine, sampler, adapters, 2 * fewer)
    few = found_for(shape, engine, sampler, adapters, fewer)
    assert many.memory.peak <= few.memory.peak
    assert many.seconds.decode <= few.seconds.decode


@given(shapes, engines, samplers, st.sampled_from([8, 64]))
def test_adapters_never_need_more_than_all_parameters(shape, engine, sampler, rank):
    adapters = found_for(shape, engine, sampler, {"rank": rank})
    every = found_for(shape, engine, sampler, {"rank": 0})
    assert adapters.memory.peak <= every.memory.peak
    assert adapters.checkpoint_bytes < every.checkpoint_bytes


@given(shapes, engines, samplers, lora)
def test_recomputing_activations_takes_time_and_spares_memory(shape, engine, sampler, adapters):
    whole = found_for(shape, engine, sampler, adapters, optimizer={"gradient_checkpointing": False})
    spared = found_for(shape, engine, sampler, adapters)
    assert spared.memory.activations < whole.memory.activations
    assert spared.work.update_flops > whole.work.update_flops


@given(shapes, engines, samplers, lora, st.integers(64, 2048), st.integers(64, 2048))
def test_shorter_limits_never_take_longer(shape, engine, sampler, adapters, one, other):
    short, long = sorted((one, other))
    low, high = (
        found_for(shape, engine, sampler, adapters, rollout={"max_response_tokens": limit})
        for limit in (short, long)
    )
    assert low.seconds.total <= high.seconds.total
    assert low.memory.peak <= high.memory.peak


@pytest.mark.parametrize(
    ("optimizer", "together"),
    [
        # Groups of 4, prompts of 100 tokens and responses of 50, each of at most 200 + 100.
        ({}, 4),
        ({"micro_tokens": 299}, 3),  # 100 + 3 x 50 <= 299 < 100 + 4 x 50
        ({"micro_tokens": 300}, 4),
        ({"micro_tokens": 120}, 1),
        ({"micro_batch": 1}, 4),  # as many tokens as one of the longest has: 300
    ],
)
def test_how_many_responses_share_a_forward_of_their_prompt(optimizer, together):
    values = recipe(
        {"rollout": {"group_size": 4, "max_response_tokens": 100}},
        data={"max_prompt_tokens": 200},
        optimizer=optimizer,
    )
    assert responses_together(values, 100, 50) == together
    sharded = {"processes": 2, "sharding": "fsdp"}
    by_rows = {"micro_batch": 2, "micro_tokens": None}
    rows = recipe(values.model_dump(), engine=sharded, optimizer=by_rows)
    assert responses_together(rows, 100, 50) == 2  # a forward has rows there, not tokens


def test_a_policy_that_shares_nothing_is_not_counted_as_if_it_did():
    """The tiny decoder's operations, shared and not: prompts count once a group, or each time."""
    trl = {"name": "trl", "processes": 1}
    update = {
        name: work(
            recipe(PAPER, engine=trl, lora=lora), shape, get_gpu("h100"), 300, 100
        ).update_flops
        for name, shape, lora in (
            ("shared", TINY, {}),
            ("other attention", replace(TINY, packs=False), {}),
            ("dropout", TINY, {"rank": 8, "dropout": 0.1}),
            ("adapters", TINY, {"rank": 8}),
        )
    }
    assert update["shared"] < 0.5 * update["other attention"]
    assert update["adapters"] < 0.5 * update["dropout"]


def test_what_a_kl_term_small_moments_and_four_bits_hold():
    """By hand, of the tiny decoder on one GPU with TRL: 1,448 parameters, 1,152 in matrices."""
    trl = {"name": "trl", "processes": 1}

    def held(**sections):
        found = estimate(recipe(PAPER, engine=trl, **sections), TINY, GPUS["h100"]).memory
        return found.weights, found.optimizer

    assert TINY.parameters == 1448
    assert held() == (4 * 1448, 8 * 1448)
    assert held(optimizer={"beta": 0.01}) == (2 * 4 * 1448, 8 * 1448)
    assert held(optimizer={"name": "adamw_8bit"}) == (4 * 1448, 2 * 1448)
    adapters = TINY.lora_parameters(2, None)
    # adapters are switched off for the KL term
    assert held(lora={"rank": 2}, optimizer={"beta": 0.01}) == (
        4 * 1448 + 4 * adapters,
        8 * adapters,
    )
    packed = 4 * (1448 - 1152) + 1152 * 4.127 / 8 + 4 * adapters
    assert held(lora={"rank": 2, "base_precision": "nf4"})[0] == pytest.approx(packed)


def test_a_kl_term_takes_one_forward_more():
    trl = {"name": "trl", "processes": 1}
    plain, held = (
        estimate(recipe(PAPER, engine=trl, optimizer={"beta": beta}), TINY, GPUS["h100"]).seconds
        for beta in (0.0, 0.01)
    )
    assert held.old_log_probs == pytest.approx(2 * plain.old_log_probs)  # several updates: had one


def spread(sharding, **evaluation):
    return Recipe(
        policy="Qwen/Qwen3-4B-Instruct-2507",
        engine={"processes": 8, "sharding": sharding, "precision": "bfloat16"},
        evaluation={"samples": 256, "batch_size": 16} | evaluation,
        guards={"non_finite": "stop"},
    )


def test_a_policy_in_parts_is_whole_on_each_gpu_while_it_is_evaluated():
    """4 N bytes; in training 4 N / 8 of them with FSDP."""
    shape, h100 = get_shape("Qwen/Qwen3-4B-Instruct-2507"), get_gpu("h100")
    found = estimate(spread("fsdp"), shape, h100).memory
    assert found.evaluation == 4 * shape.parameters
    assert found.weights == shape.parameters / 2
    assert found.peak >= found.evaluation + found.overhead
    small = replace(found, sampling=0, activations=0, head=0, working=0)
    assert small.peak == found.evaluation + found.overhead
    assert estimate(spread("fsdp", samples=0), shape, h100).memory.evaluation == 0
    assert estimate(spread("ddp"), shape, h100).memory.evaluation == 0


def test_zero_3_gathers_the_policy_to_sample():
    shape, h100 = get_shape("Qwen/Qwen3-4B-Instruct-2507"), get_gpu("h100")
    parted, gathered = (
        estimate(spread(name, samples=0), shape, h100).memory.sampling for name in ("fsdp", "zero3")
    )
    assert gathered - parted == 2 * shape.parameters


def test_the_memory_of_a_machine_holds_what_its_processes_read_and_gather():
    shape, h100 = get_shape("Qwen/Qwen3-4B-Instruct-2507"), get_gpu("h100")

    def host(sharding, **evaluation):
        return estimate(spread(sharding, **evaluation), shape, h100).host

    assert host("ddp") == host("zero2") == host("fsdp") == host("zero3") == 32 * shape.parameters
    assert host("zero3", samples=0) == 4 * shape.parameters
    assert host("fsdp", samples=0) == 8 * shape.parameters  # AdamW's moments, to be saved
    verl = Recipe(policy="Qwen/Qwen3-4B-Instruct-2507", engine={"name": "verl", "processes": 8})
    assert estimate(verl, shape, h100).host is None
