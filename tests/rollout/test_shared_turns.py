"""Several turns with kept caches, against whole forwards of all ids."""

import random

import pytest
import torch

from toolrest.rollout.asking import Ask
from toolrest.rollout.draw import Draw
from toolrest.rollout.shared_prefix import SharedPrefixTurns
from toolrest.world.build import build_model, build_tokenizer

END = 2


@pytest.fixture(scope="module")
def model():
    return build_model(build_tokenizer(), 64, 2).double().eval()


def whole(model, ids, most, end_ids, uniforms=None, temperature=None):
    """One turn by whole forwards, a token at a time."""
    made = []
    for step in range(most):
        logits = model(torch.tensor([[*ids, *made]])).logits[0, -1]
        if temperature is None:
            token = int(logits.argmax())
        else:
            cumulative = torch.softmax(logits.float() / temperature, -1).double().cumsum(-1)
            drawn = uniforms[step] * cumulative[-1]
            token = min(int(torch.searchsorted(cumulative, drawn, right=True)), len(logits) - 1)
        made.append(token)
        if token in end_ids:
            break
    return made


@pytest.mark.parametrize("temperature", [None, 1.0, 2.0])
@pytest.mark.parametrize("group", [1, 3])
@torch.no_grad()
def test_turns_are_those_of_whole_forwards(model, temperature, group):
    rng, numbers = random.Random(group), torch.Generator().manual_seed(7)
    prompts = [[rng.randrange(3, 200) for _ in range(n)] for n in (5, 11, 2)]
    # many end tokens, so that turns have all lengths
    ends = list(range(0, model.config.vocab_size, 5))
    draw = None if temperature is None else Draw(temperature)
    turns = SharedPrefixTurns(model, prompts, group_size=group, end_ids=ends, draw=draw)
    known = [list(prompts[row // group]) for row in range(len(prompts) * group)]
    alive = list(range(len(known)))
    for number in range(5):
        asked = [
            Ask(row, [rng.randrange(3, 200) for _ in range(rng.randrange(6) if number else 0)],
                rng.randrange(1, 9))
            for row in alive
        ]  # fmt: skip
        uniforms = torch.rand(len(asked), 8, dtype=torch.float64, generator=numbers)
        told = {}
        found = turns.turn(
            asked, uniforms, lambda rows, ids, told=told: told.update(zip(rows, ids, strict=True))
        )
        for place, each in enumerate(asked):
            known[each.row] += each.seen
            right = whole(model, known[each.row], each.most, ends, uniforms[place], temperature)
            assert found.ids[place] == right == told[each.row]
            known[each.row] += right
        rng.shuffle(alive)
        alive = alive[: max(2, len(alive) - 1)]


@torch.no_grad()
def test_statistics_of_later_turns(model):
    prompts = [[5, 6, 7], [8, 9]]
    turns = SharedPrefixTurns(model, prompts, group_size=2, end_ids=[END], draw=Draw(1.0))
    first = turns.turn([Ask(row, [], 4) for row in range(4)])
    second = turns.turn([Ask(row, [20 + row] * (row + 1), 5) for row in (3, 1)])
    for place, row in enumerate((3, 1)):
        ids = prompts[row // 2] + first.ids[row] + [20 + row] * (row + 1)
        logits = model(torch.tensor([[*ids, *second.ids[place]]])).logits[0, len(ids) - 1 : -1]
        logs = torch.log_softmax(logits, -1)
        own = torch.tensor(second.ids[place])[:, None]
        right = torch.stack(
            (
                logs.gather(1, own)[:, 0],
                -(logs.exp() * logs).sum(-1),
                1 - logs.exp().pow(2).sum(-1),
            ),
            -1,
        )
        torch.testing.assert_close(second.statistics[place], right.float(), rtol=1e-4, atol=1e-5)
