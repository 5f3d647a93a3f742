"""Tokens drawn from the likeliest, by numbers worked out by hand."""

import pytest
import torch

from toolrest.rollout.draw import Draw, draw_tokens


@pytest.mark.parametrize(
    ("draw", "left"),
    [  # chances .5, .25, .15, .1
        (Draw(), [0.5, 0.25, 0.15, 0.1]),
        (Draw(top_k=2), [2 / 3, 1 / 3, 0, 0]),
        (Draw(top_k=9), [0.5, 0.25, 0.15, 0.1]),
        (Draw(top_p=0.5), [1, 0, 0, 0]),
        (Draw(top_p=0.8), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (Draw(min_p=0.25), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (Draw(top_k=3, top_p=0.8, min_p=0.4), [2 / 3, 1 / 3, 0, 0]),
        (Draw(temperature=0.5), [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
    ],
)
def test_tokens_are_drawn_from_the_likeliest(draw, left):
    """Of 1,000 even numbers as many as the chances say, and the statistics are those of all."""
    whole = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens, statistics = draw_tokens(whole.expand(1000, 4), draw, uniforms)
    found = torch.bincount(tokens, minlength=4) / 1000
    torch.testing.assert_close(found, torch.tensor(left).float(), atol=2e-3, rtol=0)
    chances = torch.softmax(whole / draw.temperature, -1)
    torch.testing.assert_close(statistics[:, 0], chances[tokens].log())
    entropy = -(chances * chances.log()).sum()
    torch.testing.assert_close(statistics[:, 1], entropy.expand(1000))
