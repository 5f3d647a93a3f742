"""Right answers to BFCL's items, from its own files, as a policy would give them."""

import ast
import itertools

from toolrest.evaluate.bfcl.episodes import MultiTurn, SingleTurn
from toolrest.evaluate.bfcl.tools import language
from toolrest.evaluate.episode import Answer


def answer(calls):
    """An answer with these calls, [{"name", "arguments"}]."""
    return Answer("" if calls else "I cannot help with that.", "end", calls=calls or None)


def _plain(value):
    """One value of what an acceptable value allows; a dictionary's parts are lists of such, deeper
    down the values themselves.
    """
    if isinstance(value, dict):
        parts = {key: [v for v in _listed(each) if v != ""] for key, each in value.items()}
        return {key: _plain(each[0]) for key, each in parts.items() if each}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _listed(value):
    return value if isinstance(value, list) else [value]


def _unquoted(value):
    """A list of texts as the checker reads it where a Java array's elements keep their quotes."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "new String[]{" + ", ".join(value) + "}"
    return value


def candidates(episode: SingleTurn):
    """Several writings of the gold calls: optional parameters given or left out, and for Java
    arrays of texts without quotes.
    """
    if "irrelevance" in episode.category:
        yield []
        return
    if episode.category == "live_relevance":
        yield [{"name": episode.item["function"][0]["name"], "arguments": {}}]
        return
    java = language(episode.category) == "Java"
    for given, bare in itertools.product((True, False), (False, True) if java else (False,)):
        calls = []
        for gold in episode.gold:
            (name, parameters), *_ = gold.items()
            values = {}
            for key, acceptable in parameters.items():
                real = [value for value in acceptable if value != ""]
                if real and (given or "" not in acceptable):
                    value = _plain(real[0])
                    values[key] = _unquoted(value) if bare else value
            calls.append({"name": name, "arguments": values})
        yield calls


def turn_calls(episode: MultiTurn, turn: int):
    """The gold calls of a turn, arguments without names given theirs."""
    held = [f for later in episode.item["missed_function"].values() for f in later]
    names = {
        f["name"]: list(f["parameters"]["properties"]) for f in episode.item["function"] + held
    }
    calls = []
    for text in episode.gold[turn]:
        call = ast.parse(text, mode="eval").body
        given = zip(names.get(call.func.id, ()), call.args, strict=False)
        values = {name: ast.literal_eval(value) for name, value in given}
        values |= {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        calls.append({"name": call.func.id, "arguments": values})
    return calls


def play_gold(episode, change=lambda turn, calls: calls):
    """Play a dialogue's gold, each turn's calls in one step; `change` may spoil them."""
    for turn in range(len(episode.gold)):
        calls = change(turn, turn_calls(episode, turn))
        if calls:
            episode.receive(answer(calls))
        episode.receive(answer([]))
    return episode.outcome()
