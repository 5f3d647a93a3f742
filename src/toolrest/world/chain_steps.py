"""Single steps of demonstrated chains: each turn after its history, with a right reply to learn."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.data.decompose import Rendering, to_samples
from toolrest.data.dialogue import Action, Dialogue, Observation, Turn
from toolrest.data.record import Record
from toolrest.data.sample import Sample
from toolrest.world.chain_demonstrations import Trajectory, demonstrate_chain


def chain_dialogue(trajectory: Trajectory) -> Dialogue:
    """A demonstrated trajectory as a dialogue, which `data.decompose` takes apart."""
    dialect = get_dialect("rlla")
    turns: list[Turn] = []
    for turn in trajectory.turns:
        reply = dialect.parse(turn.reply)
        turns.append(Action(reply.calls, reply.response, reply.thought))
        if turn.results:
            turns.append(Observation(turn.results))
    return Dialogue((), tuple(turns), begins=trajectory.messages)


def chain_steps(rows: Iterable[Mapping[str, Any]], rendering: Rendering) -> list[Sample]:
    """The steps of a right trajectory of each chain, in order. The same row always gives the same
    steps: their prompts are what an episode has written when it comes to them.

    Args:
        rows: as `toolrest.world.chains.chain_rows` gives them.
    """
    found: list[Sample] = []
    for row in rows:
        identity = f"{row['split']}/{row['seed']}/{row['index']}"
        rng = random.Random(f"chain demonstrations/{identity}")
        dialogue = chain_dialogue(demonstrate_chain(dict(row), rng))
        found += to_samples(Record(dialogue), rendering, "world", identity)
    return found
