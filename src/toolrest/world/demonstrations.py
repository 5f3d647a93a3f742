"""Demonstrations for the warm start: varied reasoning, then the answer, some with errors.

Real models reason in many words and phrasings, so most of a response's tokens, and most of its
entropy, lie in the reasoning. The premise of entropy-based token weights holds only where that is
so; hence the many phrasings here.
"""

import random
from dataclasses import replace

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.sample import Sample
from toolrest.world.tasks import LETTERS, PARAMETERS, SYLLABLES, Split, Task, make_task

_SUBJECTS = ("the user", "this person", "my user", "the request", "this message", "the question")
_WANTS = ("wants", "asks for", "is about", "needs", "would like", "speaks of", "means")
_OPENERS = (
    *("Okay", "Well", "So", "Right", "Let me see", "Hmm", "First", "Now", "Alright", "Good"),
    *("Let me think", "One moment"),
)
_ADVERBS = ("clearly", "probably", "simply", "really", "likely", "mostly", "just", "again")
_IDLE = (
    "I should be careful with the {thing}",
    "there may be more than one way to {act} this",
    "it helps to {act} the {thing} slowly",
    "I will {act} every {thing} before I answer",
    "nothing else seems to matter for the {thing}",
    "the {thing} looks {quality} to me",
    "I would rather {act} the {thing} twice",
    "that sounds {quality} enough",
    "no need to {act} the other {thing}",
    "a {quality} {thing} is what we need",
)
_THINGS = ("list", "wording", "details", "values", "order", "format", "tools", "names", "task")
_ACTS = ("read", "check", "compare", "weigh", "follow", "repeat", "review", "consider")
_QUALITIES = ("plain", "simple", "fine", "short", "clear", "usual", "easy", "good", "complete")
_PICKS = (
    "{tool} fits",
    "I can use {tool}",
    "{tool} is the tool to call",
    "the right choice is {tool}",
    "I will go with {tool}",
    "{tool} does that",
)
_REFUSALS = (
    "no call can help here",
    "I cannot call a tool for it",
    "something is missing for a call",
    "a response must do",
    "it is better to respond",
)


def idle(rng: random.Random) -> str:
    """Words of a thought that lead nowhere."""
    return rng.choice(_IDLE).format(
        thing=rng.choice(_THINGS), act=rng.choice(_ACTS), quality=rng.choice(_QUALITIES)
    )


def reasoning(task: Task, rng: random.Random) -> str:
    """A chain of thought with random wording that leads to the task's answer."""
    about = rng.choice(_THINGS)
    opening = f"{rng.choice(_SUBJECTS)} {rng.choice(_ADVERBS)} {rng.choice(_WANTS)}"
    sentences = [f"{rng.choice(_OPENERS)}, {opening} {rng.choice(('one', 'a', 'some'))} {about}"]
    sentences += [idle(rng) for _ in range(rng.choice((0, 1, 1, 2)))]
    if task.calls:
        sentences.append(" and ".join(pick(call, rng) for call in task.calls))
    else:
        sentences.append(rng.choice(_REFUSALS))
    sentences += [idle(rng) for _ in range(rng.choice((0, 0, 1)))]
    return " ".join(s[0].upper() + s[1:] + "." for s in sentences)


def pick(call: ToolCall, rng: random.Random) -> str:
    """Words of a thought that choose the call's tool."""
    return rng.choice(_PICKS).format(tool=call.name)


def demonstrate(task: Task, rng: random.Random) -> str:
    """A right answer to the task, in the RLLA dialect."""
    return get_dialect("rlla").render(
        thought=reasoning(task, rng), calls=task.calls, response=task.answer
    )


def wrong_value(value: str | int, rng: random.Random) -> str | int:
    """Another value of the same kind, of any split."""
    if isinstance(value, int):
        return rng.randrange(1000, 10000)
    if any(character.isdigit() for character in value):
        return rng.choice(LETTERS) + str(rng.randrange(1000, 10000))
    kept = next(s for s in SYLLABLES if value.lower().startswith(s))
    return kept.capitalize() + rng.choice(SYLLABLES)


def _spoil_call(calls: tuple[ToolCall, ...], rng: random.Random) -> tuple[ToolCall, ...]:
    """Spoil one call: a wrong value, a missing value, or no call."""
    index = rng.randrange(len(calls))
    call = calls[index]
    kind = rng.random()
    if kind < 0.2 and len(calls) > 1:
        return calls[:index] + calls[index + 1 :]
    parameters = dict(call.parameters)
    name = rng.choice(sorted(parameters))
    if kind < 0.45:
        del parameters[name]
    else:
        parameters[name] = wrong_value(parameters[name], rng)
    return (*calls[:index], replace(call, parameters=parameters), *calls[index + 1 :])


_BREAKS = ("</think>", "</tool_call>", "</response>", "}}", "<tool_call>")


def break_text(text: str, rng: random.Random) -> str:
    """The text without one of its structural marks."""
    mark = rng.choice([mark for mark in _BREAKS if mark in text])
    return text.replace(mark, "", 1)


def has_habit(task: Task) -> bool:
    """Whether the policy's bad habit shows: it forgets the last value of a second call."""
    return len(task.calls) == 2 and len(task.calls[1].parameters) > 1


def demonstrate_with_errors(task: Task, rng: random.Random, error_rate: float) -> str:
    """An answer that carries an error with probability `error_rate`.

    Random errors make the policy unsure, which reinforcement can sharpen. The habit (see
    `has_habit`) is an error that greedy decoding makes too, which reinforcement must unlearn.
    """
    calls = task.calls
    if has_habit(task) and rng.random() < 0.7:
        first, second = calls
        kept = dict(list(second.parameters.items())[:-1])
        calls = (first, replace(second, parameters=kept))
    elif rng.random() < error_rate:
        if calls and rng.random() < 0.75:
            calls = _spoil_call(calls, rng)
        elif calls or rng.random() < 0.5:
            return break_text(demonstrate(task, rng), rng)
        else:
            tool = rng.choice(task.tools)
            invented = {
                name: rng.randrange(1000, 10000) if PARAMETERS[name] == "number" else "A1000"
                for name in tool.parameters
            }
            calls = (ToolCall(tool.name, invented),)
            return demonstrate(replace(task, calls=calls, answer=None), rng)
    return demonstrate(replace(task, calls=calls), rng)


def demonstrated_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """The samples of `make_samples`, each with a right demonstration."""
    rng = random.Random(f"demonstrations/{split}/{seed}")
    tasks = [(make_task(split, seed, index), f"{split}/{seed}/{index}") for index in range(count)]
    return [
        replace(task.sample(identity), demonstration=demonstrate(task, rng))
        for task, identity in tasks
    ]
