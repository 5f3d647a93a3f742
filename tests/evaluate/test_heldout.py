import copy
import json

import pytest
import torch

from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.evaluate.generation import Decoding, generate
from toolrest.evaluate.heldout import evaluate_heldout
from toolrest.evaluate.score_file import score_file
from toolrest.recipe import load_recipe
from toolrest.rollout.draw import Draw
from toolrest.world.tasks import Split, make_samples


@pytest.mark.stored_numbers
def test_greedy_responses_are_the_argmax_at_every_step(embedded_model, embedded_tokenizer):
    """Left padding and batching change nothing but rounding."""
    samples = make_samples(Split.HELDOUT, 5)
    responses = generate(
        embedded_model,
        embedded_tokenizer,
        samples,
        Decoding([embedded_tokenizer.eos_token_id], 30, draw=None),
    )
    for sample, response in zip(samples, responses, strict=True):
        prompt = render_prompt(sample, embedded_tokenizer)
        with torch.no_grad():
            logits = embedded_model(torch.tensor([prompt + response])).logits[0]
        best = logits[len(prompt) - 1 : -1].max(dim=-1)
        taken = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None])[:, 0]
        assert torch.allclose(best.values, taken, atol=1e-4)
        ends = [i for i in response if i == embedded_tokenizer.eos_token_id]
        assert len(response) == 30 or (len(ends) == 1 and response[-1] == ends[0])


def test_sampling_is_seeded_and_leaves_the_random_state(embedded_model, embedded_tokenizer):
    samples = make_samples(Split.HELDOUT, 3)

    def sample(seed):
        return generate(
            embedded_model,
            embedded_tokenizer,
            samples,
            Decoding([embedded_tokenizer.eos_token_id], 20, draw=Draw(1.0), seed=seed),
        )

    before = torch.get_rng_state()
    first = sample(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert sample(1) == first
    assert sample(2) != first


def test_the_results_are_the_means_of_the_rows(embedded_model, embedded_tokenizer):
    recipe = load_recipe(None, ["rollout.max_response_tokens=100", "evaluation.batch_size=4"])
    seen = []
    result, rows = evaluate_heldout(
        embedded_model, embedded_tokenizer, make_samples(Split.HELDOUT, 6), recipe, seen.append
    )
    assert seen == [4, 6, 10, 12]
    assert result.n == 6
    for decoding, exact, reward in (
        ("sampled", result.exact_match, result.reward),
        ("greedy", result.greedy_exact_match, result.greedy_reward),
    ):
        mine = [row["reward"] for row in rows if row["decoding"] == decoding]
        assert len(mine) == 6
        assert exact == sum(row["exact"] for row in mine) / 6
        assert reward == sum(row["total"] for row in mine) / 6
        assert all(-3 <= row["total"] <= 4 for row in mine)


def test_the_rows_can_be_scored_again(embedded_model, embedded_tokenizer, tmp_path):
    """They have what they were scored by: what the prompt had begun, and typed tools."""
    recipe = load_recipe(
        None, ["rollout.max_response_tokens=20", "dialect=qwen_xml", "data.path=r.jsonl"]
    )
    tool = {"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}
    call = "<tool_call>\n<function=f>\n<parameter=x>\n5\n</parameter>\n</function>\n</tool_call>"
    asked = {"role": "user", "content": "5?"}
    begun = {"role": "assistant", "content": "<think>\n"}
    samples = [
        Sample((asked,), call, "s", "0", declared=(tool,)),
        Sample((asked, begun), call, "s", "1"),
    ]
    tokenizer = copy.deepcopy(embedded_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    _, rows = evaluate_heldout(embedded_model, tokenizer, samples, recipe, lambda done: None)
    assert [row.get("tools") for row in rows] == [[tool], None] * 2
    assert [row.get("opening") for row in rows] == [None, "<think>\n"] * 2
    path, output = tmp_path / "after.jsonl", tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(path, recipe_reward(recipe, "constant"), output)
    again = [json.loads(line)["total"] for line in output.read_text().splitlines()]
    assert again == [row["reward"]["total"] for row in rows]


@pytest.mark.parametrize("sampler", ["shared_prefix", "generate"])
def test_every_token_that_ends_a_turn_ends_a_response(
    embedded_model, embedded_tokenizer, sampler, monkeypatch
):
    """The generation configuration names more than the tokenizer's own."""
    samples = make_samples(Split.HELDOUT, 4)
    recipe = load_recipe(None, ["rollout.max_response_tokens=60", f"rollout.sampler={sampler}"])
    _, rows = evaluate_heldout(
        embedded_model, embedded_tokenizer, samples, recipe, lambda done: None
    )
    greedy = [row["response"] for row in rows if row["decoding"] == "greedy"]
    assert all("</think>" in text and not text.endswith("</think>") for text in greedy)
    ends = [embedded_tokenizer.convert_tokens_to_ids("</think>")]
    monkeypatch.setattr(embedded_model.generation_config, "eos_token_id", ends)
    _, rows = evaluate_heldout(
        embedded_model, embedded_tokenizer, samples, recipe, lambda done: None
    )
    cut = [row["response"] for row in rows if row["decoding"] == "greedy"]
    assert cut == [text[: text.index("</think>") + len("</think>")] for text in greedy]
