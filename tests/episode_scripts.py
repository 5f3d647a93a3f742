"""A policy by a script, as either engine asks one: the same after the same ids."""

import random
from pathlib import Path

import torch

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.rollout.asking import Sampled

SOURCES = Path(__file__).parent / "environments" / "sources"
CALLS = (ToolCall("Find", {}), ToolCall("Pay", {}))


class Script:
    """Says the same after the same ids, whoever asks: calls, answers, and what cannot be read."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def says(self, ids, most):
        rng = random.Random(str(ids))
        dialect = get_dialect("rlla")
        (text,) = rng.choices(
            [
                dialect.render(
                    thought="I call.", calls=(ToolCall("Find", {"x": 1}),), response=None
                ),
                dialect.render(thought="Two.", calls=CALLS, response=None),
                dialect.render(thought="So.", calls=(), response=f"it is {rng.randrange(9)}"),
                "<think>a</think>\n<tool_call>\n{oops\n</tool_call>",
                "<think>" + "and " * 40,
            ],
            [5, 2, 2, 1, 1],
        )
        return self.tokenizer(text + "<|im_end|>")["input_ids"][:most]


class Batched(Script):
    """The script as the sampler of a batch, as the TRL engine asks one."""

    def of(self, prompts, size):
        self.known = [list(ids) for ids in prompts for _ in range(size)]
        return self

    def turn(self, asked, uniforms, on_ended):
        said = []
        for each in asked:
            self.known[each.row] += each.seen
            said.append(self.says(self.known[each.row], each.most))
            self.known[each.row] += said[-1]
        on_ended([each.row for each in asked], said)
        return Sampled(said, [torch.zeros(len(ids), 3) for ids in said])
