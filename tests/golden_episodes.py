"""The golden episodes: what the TRL engine makes of a few episodes of several turns.

`python tests/golden_episodes.py` plays them anew with the embedded policy and writes
tests/engines/golden_episodes.json; both engines' tests read that file. In some of them the
environment fails.
"""

import json
import sys
import tempfile
from pathlib import Path

PATH = Path(__file__).parent / "engines" / "golden_episodes.json"
GROUP = 4
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""How near weights and advantages are to the stored ones; see `golden_rollouts`."""
DISCOUNT = 0.5
CREDITS = ("response", "turns")


def read():
    return json.loads(PATH.read_text())


def run_trl(credit, normalise="turn"):
    """The rows of one generation of the TRL engine, and what it credits their tokens with."""
    from acting import SOURCES, act

    from toolrest.engines.common.episodes import episode_record
    from toolrest.engines.trl.trainer import ResTTrainer

    class Spy(ResTTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            weighted.append(output["advantages"].clone())
            return output

    weighted = []
    with tempfile.TemporaryDirectory() as folder:
        _, (batch,) = act(
            Path(folder),
            environment=f"{SOURCES / 'training.py'}:Moody",
            kind=Spy,
            max_steps=1,
            weighting="rest",
            normalise=normalise,
            credit=credit,
            credit_discount=DISCOUNT,
            entropy_source="exact",
            record_entropies=True,
            num_generations=GROUP,
        )
    rows = []
    for row, played in enumerate(batch.episodes.trajectories):
        length = len(played.ids)
        rows.append(
            {
                "prompt": played.prompt_ids,
                "ids": played.ids,
                "mask": list(map(int, played.sampled)),
                "entropies": [round(h, 9) for h in batch.entropies[row][:length].tolist()],
                "episode": json.loads(json.dumps(episode_record(played))),
                "weights": [round(w, 9) for w in batch.weights[row][:length].tolist()],
                "weighted": [round(a, 9) for a in weighted[0][row][:length].tolist()],
            }
        )
    return rows


if __name__ == "__main__":
    made = {credit: run_trl(credit) for credit in CREDITS}
    weighted = {credit: [row.pop("weighted") for row in rows] for credit, rows in made.items()}
    assert made["turns"] == made["response"]
    found = {"rows": made["turns"], "weighted": weighted}
    PATH.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    print(PATH, PATH.stat().st_size, "bytes", file=sys.stderr)
