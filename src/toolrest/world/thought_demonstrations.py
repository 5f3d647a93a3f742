"""Demonstrations of the tasks whose thought decides: right ones, and some with errors to unlearn.

A thought has an opener, the idle sentences, and a sentence for each value that it decides, which
looks the fact up and says what it is for. It names no tool and no value that stands plainly in the
request, so that it decides nothing else.
"""

import random
from dataclasses import replace

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.sample import Sample
from toolrest.world.demonstrations import idle
from toolrest.world.tasks import Split
from toolrest.world.thought_tasks import Asked, Knobs, Slot, ThoughtTask, make_thought_task

HABIT_SHARE = 0.6
MISSING_SHARE = 0.3
"""Of the errors of plain values; the others are wrong copies."""
_OPENERS = (
    *("Okay", "Well", "So", "Right", "Let me see", "Hmm", "First", "Now", "Alright", "Good"),
    *("Let me think", "One moment"),
)
_DERIVATIONS = (
    "{holder} {value}, so {parameter} {value}",
    "{holder} {value}, then {parameter} {value}",
)


def thought_of(task: ThoughtTask, rng: random.Random) -> str:
    """A chain of thought that decides what the task leaves to it."""
    sentences = [rng.choice(_OPENERS)]
    sentences += [idle(rng) for _ in range(task.idle_sentences)]
    sentences += [
        _derivation(slot, rng) for each in task.asked for slot in each.slots if slot.holder
    ]
    return " ".join(s[0].upper() + s[1:] + "." for s in sentences)


def _derivation(slot: Slot, rng: random.Random) -> str:
    return rng.choice(_DERIVATIONS).format(
        parameter=slot.parameter, holder=slot.holder, value=slot.value
    )


def demonstrate_thought(task: ThoughtTask, rng: random.Random) -> str:
    """A right answer to the task, in the RLLA dialect."""
    return _render(task, task.calls, rng)


def _render(task: ThoughtTask, calls: tuple[ToolCall, ...], rng: random.Random) -> str:
    return get_dialect("rlla").render(thought=thought_of(task, rng), calls=calls, response=None)


def has_habit(slot: Slot) -> bool:
    """Whether the policy's bad habit shows: it takes another number of the request."""
    return isinstance(slot.value, int)


def demonstrate_thought_with_errors(
    task: ThoughtTask, rng: random.Random, error_rate: float
) -> str:
    """An answer in which each value goes wrong with probability `error_rate`.

    What is decided in the thought goes wrong there, by a wrong fact, and the call copies that; a
    plain value goes wrong in the call, by a wrong copy or by being left out. So as much is wrong
    whatever the knobs are. Random errors make the policy unsure, which reinforcement can sharpen;
    the habit (see `has_habit`) is an error that greedy decoding makes too.
    """
    asked, calls = [], []
    for each in task.asked:
        slots, parameters = [], dict(each.call.parameters)
        for slot in each.slots:
            if rng.random() < (HABIT_SHARE if has_habit(slot) else error_rate):
                if slot.holder is None and rng.random() < MISSING_SHARE and not has_habit(slot):
                    del parameters[slot.parameter]
                else:
                    parameters[slot.parameter] = slot.other.value
                    slot = _astray(slot)
            slots.append(slot)
        asked.append(Asked(each.tool, tuple(slots)))
        calls.append(ToolCall(each.tool.name, parameters))
    return _render(replace(task, asked=tuple(asked)), tuple(calls), rng)


def _astray(slot: Slot) -> Slot:
    """A slot as a thought has it that follows the wrong fact."""
    holder = None if slot.holder is None else slot.other.name
    return replace(slot, value=slot.other.value, holder=holder)


def demonstrated_thoughts(split: Split, count: int, seed: int, knobs: Knobs) -> list[Sample]:
    """The samples of `make_thought_samples`, each with a right demonstration."""
    rng = random.Random(f"thoughts/demonstrations/{split}/{seed}")
    tasks = [make_thought_task(split, seed, index, knobs) for index in range(count)]
    return [
        replace(
            task.sample(f"{split}/{seed}/{index}"), demonstration=demonstrate_thought(task, rng)
        )
        for index, task in enumerate(tasks)
    ]
