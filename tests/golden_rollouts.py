"""The golden rollouts: what the TRL engine makes of a few fixed responses.

`python tests/golden_rollouts.py` samples them anew with the embedded policy and writes
tests/engines/golden_rollouts.json; both engines' tests read that file. Some rows have a gap in
their mask, as a tool's output leaves in a dialogue of several turns.
"""

import json
import sys
import tempfile
from pathlib import Path

PATH = Path(__file__).parent / "engines" / "golden_rollouts.json"
GROUP = 4
PROMPTS = 2
STEPS = 3
SEED = 11
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
"""How near a weight is to the stored one: entropies are sums in float32, which another CPU adds in
another order, and a region's weight is their inverse. A wrong formula is off by a hundredth.
"""


def read():
    return json.loads(PATH.read_text())


def run_trl(ids=None, source="exact"):
    """Train three steps of nothing (learning rate 0) and give the generations back.

    Args:
        ids: the responses of each generation, to replay; None: sample.
        source: where the weights' region entropies come from.
    """
    from datasets import Dataset

    from toolrest.engines.common.reward import ToolReward
    from toolrest.engines.trl.rollout import STATISTICS, shared_prefix_rollout
    from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.policy.weights import load_policy
    from toolrest.recipe import Recipe
    from toolrest.world.tasks import Split, make_samples

    tokenizer = load_tokenizer(Recipe())
    dataset = Dataset.from_list(
        [
            {"prompt": list(s.prompt), "ground_truth": s.ground_truth}
            for s in make_samples(Split.TRAIN, 16)
        ]
    )
    waiting = None if ids is None else iter(ids)

    def rollout(prompts, trainer):
        made = shared_prefix_rollout(prompts, trainer)
        if waiting is not None:
            made["completion_ids"] = next(waiting)
            del made[STATISTICS]  # they are of other tokens
        made["env_mask"] = [
            mask_of(row, response) for row, response in enumerate(made["completion_ids"])
        ]
        return made

    generations = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = ResTTrainer(
            model=load_policy(Recipe()),
            processing_class=tokenizer,
            reward_funcs=[ToolReward()],
            train_dataset=dataset,
            args=ResTConfig(
                output_dir=folder,
                weighting="rest",
                normalise="trajectory",  # as verl, whose responses are one turn
                entropy_source=source,
                record_entropies=True,
                per_device_train_batch_size=PROMPTS * GROUP,
                num_generations=GROUP,
                max_completion_length=72,
                max_steps=STEPS,
                learning_rate=0.0,
                seed=SEED,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                remove_unused_columns=False,
            ),
            rollout_func=rollout,
            on_rollouts=lambda batch: generations.append(captured(batch, trainer.entropy)),
        )
        trainer.train()
    return generations


def mask_of(row, response):
    """Every other response has a gap in the middle."""
    third = len(response) // 3
    gap = range(third, 2 * third) if row % 2 else ()
    return [int(at not in gap) for at in range(len(response))]


def captured(batch, tracker):
    rows = []
    for row in range(len(batch.completion_ids)):
        length = int(batch.mask[row].nonzero().max()) + 1
        rows.append(
            {
                "ids": batch.completion_ids[row][:length].tolist(),
                "mask": batch.mask[row][:length].int().tolist(),
                "entropies": [round(h, 9) for h in batch.entropies[row][:length].tolist()],
                "advantage": batch.advantages[row].item(),
                "reward": batch.breakdowns[row].total,
                "format": batch.breakdowns[row].format,
                "correctness": batch.breakdowns[row].correctness,
                "weights": [round(w, 9) for w in batch.weights[row][:length].tolist()],
            }
        )
    found = {"step": batch.step, "progress": batch.step / STEPS, "rows": rows}
    followed = tracker.to_dict()["followed"]
    if followed is not None:  # nothing follows `exact`
        both = zip(followed["total"], followed["count"], strict=True)
        found["average"] = [total / count if count else None for total, count in both]
    return found


def with_online(generations):
    """The same generations with the moving average that goes with them, and its weights."""
    replayed = run_trl([[row["ids"] for row in each["rows"]] for each in generations], "online")
    for each, online in zip(generations, replayed, strict=True):
        each["average"] = online["average"]
        for row, other in zip(each["rows"], online["rows"], strict=True):
            row["online_weights"] = other["weights"]
    return generations


if __name__ == "__main__":
    PATH.write_text(json.dumps(with_online(run_trl()), separators=(",", ":")) + "\n")
    print(PATH, PATH.stat().st_size, "bytes", file=sys.stderr)
