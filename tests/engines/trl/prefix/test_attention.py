"""Packed forwards of many architectures against their own, row by row."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from trl.trainer.utils import add_fused_lm_head

from toolrest.engines.trl.prefix import flash
from toolrest.engines.trl.prefix.attention import BACKEND, PackedForwards
from toolrest.engines.trl.prefix.packing import pack
from toolrest.estimate.shape import PACKED
from toolrest.rollout.attention_kind import full_attention

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
MORE = {
    "mistral": {"sliding_window": None},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}
PROMPTS = [[5, 6, 7, 8, 9]] * 3 + [[11, 12]] * 2 + [[13]]
RESPONSES = [[1, 2, 3, 4], [2], [3, 1, 5], [4, 4, 6, 6, 7, 8], [9, 9], [10, 11, 12]]


def make(kind, **more):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**SIZES, **MORE.get(kind, {}), **more)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data.mul_(3.0)  # so that attention is far from uniform
    add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    return model


def by_rows(model):
    found = torch.zeros(len(PROMPTS), 6)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        logits = model(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1] / 0.7
        logps = torch.log_softmax(logits, dim=-1)
        found[row, : len(response)] = logps.gather(1, torch.tensor(response)[:, None])[:, 0]
    return found


def gradients(model, values):
    weights = torch.linspace(-1, 1, values.numel()).view_as(values)
    model.zero_grad()
    (values * weights).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()


def kernel(query, key, value, query_ends, key_ends, most_queries, most_keys, **more):
    """What `varlen_attn` computes, sequence by sequence."""
    assert more["window_size"] == (-1, 0)
    assert most_queries == query_ends.diff().max() and most_keys == key_ends.diff().max()
    if more.get("enable_gqa"):
        each = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
    found = []
    for n in range(len(query_ends) - 1):
        q = query[query_ends[n] : query_ends[n + 1]].transpose(0, 1)
        k, v = (s[key_ends[n] : key_ends[n + 1]].transpose(0, 1) for s in (key, value))
        seen = torch.ones(q.shape[1], k.shape[1]).tril(k.shape[1] - q.shape[1]).bool()
        scores = (more["scale"] * q @ k.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        found.append((scores.softmax(-1) @ v).transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_one_call_for_all_sequences_gives_the_same(grouped, checkpointing, monkeypatch):
    """The way of GPUs, whose kernel stands in here; tests/test_gpu.py has the kernel itself."""
    model = make("qwen3").train()
    wanted = by_rows(model)
    right = gradients(model, wanted)
    calls = []
    monkeypatch.setattr(flash, "fits", lambda query: not calls.append(query.shape))
    monkeypatch.setattr(flash, "_GROUPED", grouped)
    monkeypatch.setattr(flash.varlen, "varlen_attn", kernel)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    packed = pack(PROMPTS, RESPONSES, 6)
    forwards = PackedForwards()
    found = packed.unpack(model(**forwards.use(model, packed)).log_probs)
    made = gradients(model, found)
    forwards.restore()
    assert calls
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (made - right).norm() <= 1e-5 * right.norm()


def test_a_cpu_and_32_bits_have_no_kernel():
    states = torch.zeros(1, 2, 3, 64)
    assert not flash.fits(states) and not flash.fits(states.bfloat16())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", PACKED)
def test_log_probs_and_gradients_are_those_of_single_rows(kind, checkpointing):
    model = make(kind).train()
    assert full_attention(model)
    wanted = by_rows(model)
    right = gradients(model, wanted)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    packed = pack(PROMPTS, RESPONSES, 6)
    forwards = PackedForwards()
    found = packed.unpack(model(**forwards.use(model, packed)).log_probs)
    assert model.config._attn_implementation == BACKEND
    made = gradients(model, found)
    forwards.restore()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (made - right).norm() <= 1e-5 * right.norm()
    assert model.config._attn_implementation != BACKEND
    assert torch.equal(by_rows(model), wanted)  # nothing of it is left


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("mistral", {"sliding_window": 16}),
        ("gpt_oss", {"num_local_experts": 4}),
    ],
)
def test_other_attention_is_not_taken(kind, more):
    config = CONFIG_MAPPING[kind](**(SIZES | more))
    model = AutoModelForCausalLM.from_config(config)
    assert not full_attention(model) or kind not in PACKED
