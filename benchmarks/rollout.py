"""Rollouts of a policy: shared prefixes against transformers' generate.

    python benchmarks/rollout.py [--policy FOLDER --prompt-tokens 540 --prompts 2]

Responses in groups of 8, both sides in turn in pairs: of the embedded policy to its own tasks, or
of another to prompts of random tokens. Sampled responses differ, so tokens a second are compared,
and greedy ones, which are the same, by time.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import torch
from pairs import pairs

from toolrest.data.prompts import render_prompt
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.draw import Draw
from toolrest.rollout.shared_prefix import sample_groups
from toolrest.world.tasks import Split, make_samples

GROUP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--policy", help="a folder; None: the embedded policy and its tasks")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=540)
    parser.add_argument("--tokens", type=int, default=192, help="of a response, at most")
    chosen = parser.parse_args()
    repeats, most = chosen.repeats, chosen.tokens
    recipe = Recipe() if chosen.policy is None else Recipe(policy=str(Path(chosen.policy)))
    model, tokenizer = load_policy(recipe).eval(), load_tokenizer(recipe)
    end = tokenizer.eos_token_id
    if chosen.policy is None:
        samples = make_samples(Split.TRAIN, chosen.prompts)
        prompts = [render_prompt(sample, tokenizer) for sample in samples]
    else:
        size = (chosen.prompts, chosen.prompt_tokens)
        numbers = torch.Generator().manual_seed(0)
        prompts = torch.randint(1000, len(tokenizer) - 1000, size, generator=numbers).tolist()
    tokens: dict[str, list[int]] = {"ours": [], "generate": []}

    def ours(temperature: float | None) -> None:
        rows = sample_groups(
            model,
            prompts,
            group_size=GROUP,
            max_tokens=most,
            end_ids=[end],
            draw=None if temperature is None else Draw(temperature),
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
            max_new_tokens=most,
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
