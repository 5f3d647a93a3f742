"""The sampler against transformers' generate, and against the probabilities themselves."""

import itertools
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from toolrest.data.prompts import render_prompt
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.attention_kind import can_share_prefix
from toolrest.rollout.draw import Draw
from toolrest.rollout.sampler import shares_prefix
from toolrest.rollout.shared_prefix import sample, sample_groups
from toolrest.world.tasks import Split, make_samples

SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def policy():
    return load_policy(Recipe()).eval()


@pytest.fixture(scope="module")
def prompts(embedded_tokenizer):
    samples = make_samples(Split.HELDOUT, 12)
    return [render_prompt(sample, embedded_tokenizer) for sample in samples]


def by_generate(model, tokenizer, prompts, max_tokens):
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    output = model.generate(
        **batch,
        max_new_tokens=max_tokens,
        do_sample=False,
        draw=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    rows = output[:, batch["input_ids"].size(1) :].tolist()
    end = tokenizer.eos_token_id
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def assert_same_but_for_rounding(model, prompt, found, wanted, uniforms=None):
    """Two ways of computing the same logits may part only where rounding decides: between tokens
    that are equally likely, or, with a uniform number, at the border between two tokens.
    """
    parted = next((at for at, (a, b) in enumerate(zip(found, wanted)) if a != b), None)  # noqa: B905
    if parted is None:
        assert len(found) == len(wanted)
        return
    two = sorted((found[parted], wanted[parted]))
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *found[:parted]]])).logits[0, -1].double()
    if uniforms is None:
        assert (logits[two] > logits.max() - 1e-4).all(), (parted, two)
    else:
        below = torch.softmax(logits, dim=-1).cumsum(0)
        border = below[two[0]]
        assert abs(border - uniforms[parted]) < 1e-5, (parted, two)
        assert below[two[1] - 1] - border < 1e-5, "tokens of some chance lie between the two"


def test_two_answers_that_part_must_be_equally_likely(policy, prompts):
    [greedy] = sample_groups(policy, prompts[:1], group_size=1, max_tokens=8, end_ids=[], draw=None)
    assert_same_but_for_rounding(policy, prompts[0], greedy, greedy)
    other = [*greedy[:4], greedy[4] + 1, *greedy[5:]]
    for uniforms in (None, torch.full((8,), 0.5)):
        with pytest.raises(AssertionError):
            assert_same_but_for_rounding(policy, prompts[0], greedy, other, uniforms)
    with pytest.raises(AssertionError):
        assert_same_but_for_rounding(policy, prompts[0], greedy, greedy[:5])


@pytest.mark.stored_numbers
def test_greedy_output_is_that_of_generate_on_every_row(policy, prompts, embedded_tokenizer):
    end = embedded_tokenizer.eos_token_id
    for max_tokens in (12, 160):  # all cut; nearly all ended
        wanted = by_generate(policy, embedded_tokenizer, prompts, max_tokens)
        found = sample_groups(
            policy,
            prompts,
            group_size=3,
            max_tokens=max_tokens,
            end_ids=[end],
            draw=None,
        )
        assert len(found) == 3 * len(wanted)
        for row, response in enumerate(found):
            assert_same_but_for_rounding(policy, prompts[row // 3], response, wanted[row // 3])
    assert any(row[-1] == end for row in wanted)
    assert len({len(row) for row in wanted}) > 3  # rows left the batch at different times


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_statistics_are_those_of_a_plain_forward(policy, prompts, embedded_tokenizer, temperature):
    """Of every token, though rows leave the batch and move in it."""
    end = [embedded_tokenizer.eos_token_id]
    found = sample(
        policy, prompts, group_size=3, max_tokens=160, end_ids=end, draw=Draw(temperature)
    )
    assert len({len(row) for row in found.ids}) > 3
    for row, (ids, statistics) in enumerate(zip(*found, strict=True)):
        whole = torch.tensor([[*prompts[row // 3], *ids]])
        with torch.no_grad():
            logits = policy(whole).logits[0, -len(ids) - 1 : -1].double() / temperature
        chances = torch.softmax(logits, dim=-1)
        wanted = (
            chances.gather(1, torch.tensor(ids)[:, None])[:, 0].log(),
            -(chances * chances.log()).sum(-1),
            1 - (chances**2).sum(-1),
        )
        torch.testing.assert_close(
            statistics.double(), torch.stack(wanted, dim=-1), rtol=1e-4, atol=1e-4
        )
    greedy = sample(policy, prompts, group_size=1, max_tokens=9, end_ids=end, draw=None)
    assert all(len(each) == 0 for each in greedy.statistics)


@pytest.mark.stored_numbers
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig),
        (Qwen2ForCausalLM, Qwen2Config),
        (MistralForCausalLM, MistralConfig),
    ],
)
def test_other_architectures(kind, config):
    torch.manual_seed(0)
    more = {"sliding_window": None} if config is MistralConfig else {}
    model = kind(config(**SMALL, **more, bos_token_id=0, eos_token_id=1, pad_token_id=2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    assert can_share_prefix(model)
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    found = sample_groups(model, prompts, group_size=2, max_tokens=20, end_ids=[1], draw=None)
    for index, prompt in enumerate(prompts):
        alone = model.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=1
        )[0, len(prompt) :].tolist()
        for response in found[2 * index : 2 * index + 2]:
            assert_same_but_for_rounding(model, prompt, response, alone)


def next_probabilities(model, ids):
    with torch.no_grad():
        return torch.softmax(model(torch.tensor([ids])).logits[0, -1].double(), dim=-1)


def test_sampled_frequencies_are_the_probabilities(policy, prompts, embedded_tokenizer):
    """The first word of a thought, and the one after the most frequent opening of two tokens, by
    chi-square; tokens that are expected less than 5 times count together.
    """
    count = 6000
    opened = [*prompts[0], embedded_tokenizer.convert_tokens_to_ids("<think>")]
    opened += embedded_tokenizer(" ")["input_ids"]
    sampled = sample_groups(
        policy,
        [opened],
        group_size=count,
        max_tokens=3,
        end_ids=[],
        draw=Draw(1.0),
        uniforms=torch.rand(
            count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        ),
    )
    (opening, _), *_ = Counter(tuple(row[:2]) for row in sampled).most_common(1)
    firsts = [row[0] for row in sampled]
    thirds = [row[2] for row in sampled if tuple(row[:2]) == opening]
    for tokens, history in ((firsts, opened), (thirds, [*opened, *opening])):
        counts = torch.bincount(torch.tensor(tokens), minlength=1536).double()
        expected = next_probabilities(policy, history) * counts.sum()
        often = expected >= 5
        observed = torch.cat((counts[often], counts[~often].sum()[None])).numpy()
        wanted = torch.cat((expected[often], expected[~often].sum()[None])).numpy()
        assert len(wanted) > 1
        assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 0.001


def test_a_temperature_sharpens(policy, prompts):
    uniforms = torch.rand(64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kinds = [
        len(
            {
                row[0]
                for row in sample_groups(
                    policy,
                    prompts[:1],
                    group_size=64,
                    max_tokens=1,
                    end_ids=[],
                    draw=Draw(temperature),
                    uniforms=uniforms,
                )
            }
        )
        for temperature in (0.01, 5.0)
    ]
    assert kinds[0] <= 2 < kinds[1]


@pytest.mark.stored_numbers
def test_the_same_numbers_give_the_same_response_in_any_company(
    policy, prompts, embedded_tokenizer
):
    uniforms = torch.rand(24, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    options = {"max_tokens": 60, "end_ids": [embedded_tokenizer.eos_token_id], "draw": Draw(1.0)}
    together = sample_groups(policy, prompts, group_size=2, uniforms=uniforms, **options)
    for row in (0, 7, 23):
        alone = sample_groups(
            policy, [prompts[row // 2]], group_size=1, uniforms=uniforms[row : row + 1], **options
        )
        assert_same_but_for_rounding(
            policy, prompts[row // 2], alone[0], together[row], uniforms[row]
        )


def test_the_model_attends_as_before_afterwards(policy, prompts):
    before = policy.config._attn_implementation
    with pytest.raises(RuntimeError, match="stop"):
        sample_groups(
            policy,
            prompts[:1],
            group_size=2,
            max_tokens=4,
            end_ids=range(1536),
            draw=None,
            on_ended=lambda count: (_ for _ in ()).throw(RuntimeError("stop")),
        )
    assert policy.config._attn_implementation == before


def test_progress_grows_to_the_number_of_responses(policy, prompts, embedded_tokenizer):
    seen = []
    sample_groups(
        policy,
        prompts,
        group_size=1,
        max_tokens=40,
        end_ids=[embedded_tokenizer.eos_token_id],
        draw=None,
        on_ended=seen.append,
    )
    assert seen[-1] == len(prompts)
    assert all(a <= b for a, b in itertools.pairwise(seen))


def test_a_policy_whose_attention_is_another_is_refused():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, pad_token_id=0))
    assert not can_share_prefix(model)
    assert not shares_prefix(model, "auto")
    with pytest.raises(InputError, match=r"rollout\.sampler=generate"):
        shares_prefix(model, "shared_prefix")


def test_generate_can_be_asked_for(policy):
    assert shares_prefix(policy, "auto")
    assert not shares_prefix(policy, "generate")


def test_generate_draws_from_the_same_tokens(policy, prompts, embedded_tokenizer):
    """transformers' own sampler and ours, of the two likeliest: no other token ever."""
    from toolrest.rollout.generate import generate_batch

    end, draw = [embedded_tokenizer.eos_token_id], Draw(2.0, top_k=2)
    many = [prompts[0]] * 8
    torch.manual_seed(0)
    theirs = generate_batch(policy, embedded_tokenizer, many, 12, draw, end)
    ours = sample(policy, many, group_size=1, max_tokens=12, end_ids=end, draw=draw).ids
    for ids in (*theirs, *ours):
        with torch.no_grad():
            logits = policy(torch.tensor([[*prompts[0], *ids]])).logits[0, -len(ids) - 1 : -1]
        ranks = (logits > logits.gather(1, torch.tensor(ids)[:, None])).sum(1)
        assert ranks.max() <= 1
    assert len({tuple(ids) for ids in theirs}) > 1 and len({tuple(ids) for ids in ours}) > 1
