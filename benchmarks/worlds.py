"""What the shipped policy of the tasks whose thought decides is like before any training.

    python benchmarks/worlds.py

A line for each setting of the knobs, on the same held-out tasks, one response of each at
temperature 1 and one by greedy decoding:

- `exact`, `greedy`: share of responses with exactly the right calls;
- `tokens`: of a sampled response, the end of the turn among them;
- `idle`: sentences of the thought beside its opener and those that find values;
- `thought`: share of the tokens that are reasoning;
- `copied`: of the wrong values that the thought had to find, those that the call has from it;
- mean entropy of each region at temperature 1, nats.
"""

import argparse
import random

import torch

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary
from toolrest.data.prompts import render_prompt
from toolrest.evaluate.generation import Decoding, generate
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import recipe_draw
from toolrest.world.demonstrations import idle
from toolrest.world.tasks import Split
from toolrest.world.thought_tasks import Knobs, make_thought_task

RLLA = get_dialect("rlla")
SHOWN = (Region.FORMAT, Region.NAME, Region.PARAMETERS, Region.REASONING)


def respond(model, tokenizer, samples, draw):
    decoding = Decoding((tokenizer.eos_token_id,), 192, draw, seed=0, batch_size=64)
    return generate(model, tokenizer, samples, decoding, lambda done: None)


def right(vocabulary, ids, task):
    reply = RLLA.parse(vocabulary.text(ids))
    return list(reply.calls) == list(task.calls)


def thought_text(text):
    return text.partition("<think>")[2].partition("</think>")[0]


def entropies(model, tokenizer, vocabulary, sample, ids):
    """(regions, entropies) of the tokens of a response, [T] each."""
    prompt = render_prompt(sample, tokenizer)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    logs = logits.float().log_softmax(-1)
    regions = label_tokens(
        torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), vocabulary, RLLA
    )[0]
    return regions, -(logs.exp() * logs).sum(-1)


def copied(text, task):
    """Of each value that the thought had to find and the call has wrong: is it the thought's?"""
    calls = {call.name: call.parameters for call in RLLA.parse(text).calls}
    for asked in task.asked:
        for slot in asked.slots:
            got = calls.get(asked.tool.name, {}).get(slot.parameter, slot.value)
            if slot.link is not None and got != slot.value:
                yield str(got) in thought_text(text)


def idle_sentences(text, starts):
    thoughts = [part.strip() for part in thought_text(text).split(".") if part.strip()]
    return sum(each[:6].lower() in starts for each in thoughts)


def measure(model, tokenizer, knobs, count):
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    tasks = [make_thought_task(Split.HELDOUT, 0, index, knobs) for index in range(count)]
    samples = [task.sample(str(index)) for index, task in enumerate(tasks)]
    sampled = respond(model, tokenizer, samples, recipe_draw(Recipe()))
    greedy = respond(model, tokenizer, samples, None)
    starts = {idle(random.Random(number))[:6].lower() for number in range(1000)}
    texts = [vocabulary.text(ids) for ids in sampled]
    found = [
        entropies(model, tokenizer, vocabulary, sample, ids)
        for sample, ids in zip(samples, sampled, strict=True)
    ]
    regions = torch.cat([each for each, _ in found])
    values = torch.cat([each for _, each in found])
    wrong = [each for text, task in zip(texts, tasks, strict=True) for each in copied(text, task)]
    return {
        "exact": sum(map(right, [vocabulary] * count, sampled, tasks)) / count,
        "greedy": sum(map(right, [vocabulary] * count, greedy, tasks)) / count,
        "tokens": len(regions) / count,
        "idle": sum(idle_sentences(text, starts) for text in texts) / count,
        "thought": (regions == Region.REASONING).double().mean().item(),
        "copied": sum(wrong) / len(wrong) if wrong else float("nan"),
    } | {region.name.lower(): values[regions == region].mean().item() for region in SHOWN}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=256, help="of each setting")
    parser.add_argument("--policy", default="embedded", help="a folder in the shipped one's place")
    options = parser.parse_args()
    recipe = Recipe.model_validate(
        {"policy": options.policy, "data": {"world": {"tasks": "thoughts"}}}
    )
    tokenizer, model = load_tokenizer(recipe), load_policy(recipe).eval()
    for number, (share, sentences) in enumerate((d, n) for d in (0.0, 0.5, 1.0) for n in (0, 2, 4)):
        found = measure(model, tokenizer, Knobs(share, sentences), options.tasks)
        if not number:
            print("decided sentences " + " ".join(f"{name:>10}" for name in found))
        row = " ".join(f"{value:10.3f}" for value in found.values())
        print(f"{share:7.1f} {sentences:9d} {row}", flush=True)


if __name__ == "__main__":
    main()
