"""Plays dialogues of gold calls in a worker, a call a step, and counts what the executor is handed.

`python counted.py FOLDER` prints JSON; bfcl-eval is in FOLDER, or beside toolrest where that is
empty. A process of its own, since the worker puts a stub in the place of a module of bfcl-eval's.
"""

import json
import sys
from itertools import zip_longest

if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])

from toolrest.evaluate.bfcl import worker
from toolrest.evaluate.bfcl.worker import Official

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
PLACES = (0, 17, 60, 111, 199)


class Counted(Official):
    """The worker, and how many calls it has run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.forgets = False
        execute = self._bfcl.turns.execute_multi_turn_func_call

        def counted(calls, *rest, **more):
            self.calls += len(calls)
            return execute(calls, *rest, **more)

        self._bfcl.turns.execute_multi_turn_func_call = counted

    def _keep(self, key, run):
        if self.forgets:  # as a process that is begun anew for each request
            self._forget(run)
        else:
            super()._keep(key, run)


def gold_steps(official, category, identity):
    """The gold calls of a dialogue, one a step, arguments by place given their names."""
    import ast

    item = official._items(category)[identity]
    held = [each for later in item["missed_function"].values() for each in later]
    names = {f["name"]: list(f["parameters"]["properties"]) for f in item["function"] + held}
    steps = []
    for text in (text for turn in item["ground_truth"] for text in turn):
        call = ast.parse(text, mode="eval").body
        given = zip(names.get(call.func.id, ()), call.args, strict=False)
        values = {name: ast.literal_eval(value) for name, value in given}
        values |= {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        steps.append([{call.func.id: values}])
    return steps


def play(official, dialogues):
    """All results of dialogues that are played side by side, [dialogues][steps]."""
    found = [[] for _ in dialogues]
    for number, row in enumerate(zip_longest(*(steps for _, _, steps in dialogues))):
        for at, (category, identity, steps) in enumerate(dialogues):
            if row[at] is not None:
                said = official.execute(category, identity, steps[: number + 1])
                found[at].append(said)
    return found


def main():
    official = Counted()
    dialogues = []
    for category in (f"multi_turn_{each}" for each in CATEGORIES):
        for place in PLACES:
            identity = f"{category}_{place}"
            dialogues.append((category, identity, gold_steps(official, category, identity)))
    dialogues.append(dialogues[0])  # another trial of a dialogue, in step with the first
    dialogues.append((*dialogues[0][:2], [[{"ls": {}}], *dialogues[0][2]]))  # one that differs
    longest = max(dialogues[:-2], key=lambda each: len(each[2]))
    results, counts = [], []
    for official.forgets in (False, True):
        results.append(play(official, dialogues))
        official.calls = 0
        play(official, [longest])
        counts.append(official.calls)
    official.forgets = False
    worker.MOST_KEPT = 3
    results.append(play(official, dialogues))
    left = [name for name in vars(official._bfcl.turns) if name.endswith("_instance")]
    runs = {name.partition("_")[0] for name in left}
    print(
        json.dumps(
            {
                "release": official.version()["release"],
                "equal": results[0] == results[1] == results[2],
                "results": sum(map(len, results[0])),
                "repeated": results[0][0] == results[0][-2],
                "steps": len(longest[2]),
                "counts": counts,
                "kept": len(official._kept),
                "runs": len(runs),
            }
        )
    )


if __name__ == "__main__":
    main()
