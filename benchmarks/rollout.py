"""Rollouts of the embedded policy: shared prefixes against transformers' generate.

    python benchmarks/rollout.py

64 responses in groups of 8, both sides in turn in pairs. Sampled responses differ, so tokens a
second are compared, and greedy ones, which are the same, by time.
"""

import argparse
import statistics
from functools import partial

import torch
from pairs import pairs

from toolrest.data.prompts import render_prompt
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.shared_prefix import sample_groups
from toolrest.world.tasks import Split, make_samples

PROMPTS, GROUP, MOST = 8, 8, 192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    model, tokenizer = load_policy(Recipe()).eval(), load_tokenizer(Recipe())
    samples = make_samples(Split.TRAIN, PROMPTS)
    prompts = [render_prompt(sample, tokenizer) for sample in samples]
    end = tokenizer.eos_token_id
    tokens: dict[str, list[int]] = {"ours": [], "generate": []}

    def ours(temperature: float | None) -> None:
        rows = sample_groups(
            model,
            prompts,
            group_size=GROUP,
            max_tokens=MOST,
            end_ids=[end],
            temperature=temperature,
        )
        tokens["ours"].append(sum(map(len, rows)))

    def generate(temperature: float | None) -> None:
        batch = tokenizer.pad(
            {"input_ids": [prompt for prompt in prompts for _ in range(GROUP)]},
            padding_side="left",
            return_tensors="pt",
        )
        sampled = (
            {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
            if temperature is None
            else {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        )
        output = model.generate(
            **batch,
            max_new_tokens=MOST,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end,
            **sampled,
        )
        rows = output[:, batch["input_ids"].size(1) :]
        tokens["generate"].append(int((rows != tokenizer.pad_token_id).sum()))

    with torch.no_grad():
        for name, temperature in (("sampled", 1.0), ("greedy", None)):
            ours(temperature)
            generate(temperature)
            for side in tokens.values():
                side.clear()
            seconds, ratios = pairs(
                partial(ours, temperature), partial(generate, temperature), repeats
            )
            per_token = [
                ratio * mine / theirs
                for ratio, mine, theirs in zip(
                    ratios, tokens["ours"], tokens["generate"], strict=True
                )
            ]
            print(
                f"{name}: toolrest {seconds:.2f} s, "
                f"{statistics.mean(tokens['ours']) / seconds:,.0f} tokens/s; a token of generate "
                f"takes {statistics.median(per_token):.2f} times as long ({min(per_token):.2f} to "
                f"{max(per_token):.2f}, {len(ratios)} pairs)"
            )


if __name__ == "__main__":
    main()
