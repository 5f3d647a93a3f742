"""The agent loop in verl's own worker, with a real Ray and TransferQueue. Needs verl.

What needs a GPU is stood in for: a scripted policy answers in place of verl's vLLM server.
"""

import json
import sys

import pytest
import torch

pytest.importorskip("verl", reason="tests/engines/verl/environment.sh makes an environment with it")

import episode_scripts
import ray
import transfer_queue as tq
from episode_scripts import Batched, Script
from golden_episodes import CLOSE, CREDITS, DISCOUNT, GROUP, read
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.utils import tensordict_utils as tu
from verl.workers.rollout.replica import TokenOutput

from toolrest.core.dialects import get_dialect
from toolrest.data.sample import Sample
from toolrest.engines.common.episodes import Episodes, episode_record
from toolrest.engines.verl.episodes import (
    RECORD,
    episode_options,
    episode_seed,
    episode_settings,
)
from toolrest.engines.verl.hydra import hydra_value
from toolrest.engines.verl.launch import _evaluation
from toolrest.engines.verl.names import MODULE
from toolrest.engines.verl.overrides import run_paths, verl_overrides
from toolrest.engines.verl.rows import write_episode_rows
from toolrest.engines.verl.weights import WeightsNotApplied
from toolrest.environments.base import Ending
from toolrest.errors import InputError
from toolrest.policy.folder import policy_path
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe
from toolrest.world.chains import chain_rows
from toolrest.world.tasks import Split

LOADED = {"VERL_USE_EXTERNAL_MODULES": MODULE, "OMP_NUM_THREADS": "1"}
CHAINS = load_recipe(None, ["environment.source=world"])
SOURCES = episode_scripts.SOURCES
TESTED = ["data.dataloader_num_workers=0", "data.shuffle=false"]
REFUSING = f"environment.source={SOURCES / 'training.py'}:Refusing"


@pytest.fixture(scope="module", autouse=True)
def queue():
    ray.init(num_cpus=16, include_dashboard=False, runtime_env={"env_vars": LOADED})
    for module in (sys.modules[__name__], episode_scripts):
        ray.cloudpickle.register_pickle_by_value(module)
    storage = {"total_storage_size": 1000, "num_data_storage_units": 2}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    yield
    tq.close()
    ray.shutdown()


@pytest.fixture(autouse=True)
def cleared():
    yield
    for partition, keys in (tq.kv_list() or {}).items():
        if keys:
            tq.kv_clear(keys=list(keys), partition_id=partition)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHAINS)


def recipe(*overrides):
    return load_recipe(
        None,
        [
            "engine=verl",
            f"policy={policy_path(CHAINS)}",
            "dialect=rlla",
            "data.prompt=plain",
            "environment={source: world, max_turns: 4, max_trajectory_tokens: 200, rows: 16}",
            "environment.max_result_tokens=64",
            "rollout.max_response_tokens=60",
            "rollout.prompts_per_step=2",
            f"rollout.group_size={GROUP}",
            "max_steps=3",
            "save_steps=1",
            "weighting.entropy_source=exact",
            f"advantage.discount={DISCOUNT}",
            *overrides,
        ],
    )


def make_trainer(folder, given, **columns):
    """A trainer as verl's task runner makes it, with its rows, up to where GPUs are needed.

    Args:
        columns: of every row.
    """
    paths = run_paths(folder, evaluated=True)
    rows = [
        Sample((), "", "environment", str(at), columns=row | columns)
        for at, row in enumerate(chain_rows(Split.TRAIN, 8))
    ]
    write_episode_rows(rows, paths.train, heldout=False)
    write_episode_rows(rows[:3], paths.heldout, heldout=True)
    settings = verl_overrides(given, "one", paths)
    written = [f"{key}={hydra_value(value)}" for key, value in settings.items()]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=[*written, *TESTED])
    trainer = get_trainer_cls(config.trainer.v1.trainer_mode)(config=config)
    trainer._init_tokenizer()
    trainer._init_dataloader()
    trainer.global_steps = 1
    return trainer


class Server:
    """Answers as verl's client of its servers does, by the script."""

    def __init__(self, tokenizer, aborts=False):
        self.script, self.aborts = Script(tokenizer), aborts

    async def generate(self, request_id, *, prompt_ids, sampling_params, **more):
        assert sampling_params["stop_token_ids"] and sampling_params["logprobs"]
        said = self.script.says(prompt_ids, sampling_params["max_tokens"])
        told = {"global_steps": 0, "min_global_steps": 0, "max_global_steps": 0}
        if self.aborts:
            return TokenOutput(token_ids=said[:2], stop_reason="aborted", extra_fields=told)
        return TokenOutput(
            token_ids=said,
            log_probs=[-0.5] * len(said),
            stop_reason="completed",
            extra_fields=told,
        )


class Manager:
    """verl's manager with one worker of its own, which loads the plug-in as every process does."""

    def __init__(self, trainer, server):
        worker = AgentLoopWorkerTQ.options(runtime_env={"env_vars": LOADED})
        self.worker = worker.remote(trainer.config, server, None, None)

    def generate_sequences(self, prompts):
        ray.get(self.worker.generate_sequences.remote(prompts))


def played(trainer, server):
    """A generation as verl makes it."""
    trainer.agent_loop_manager = Manager(trainer, server)
    trainer._add_batch_to_generate()
    batch, _ = trainer.replay_buffer.sample(global_steps=1, partition_id="train", batch_size=2)
    return batch


def fields(batch, *names):
    data = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=list(names)
    )
    return [data[name] if name in TENSORS else data.pop(name).tolist() for name in names]


TENSORS = ("responses", "prompts", "response_mask", "rm_scores", "advantages", "rollout_log_probs")


def rows_of(nested):
    return [row.tolist() for row in nested.unbind()]


def with_old_policy(batch, entropies):
    """What verl's old policy adds to a batch."""

    def nested(rows):
        return torch.nested.as_nested_tensor([torch.tensor(r) for r in rows], layout=torch.jagged)

    added = {"entropy": nested(entropies), "old_log_probs": nested(entropies)}
    return tq.kv_batch_put(
        keys=batch.keys,
        partition_id=batch.partition_id,
        fields=TensorDict(added, batch_size=len(batch.keys)),
    )


def test_verl_s_worker_plays_the_trajectories_of_our_own_loop(tmp_path, tokenizer):
    given = recipe()
    trainer = make_trainer(tmp_path, given)
    batch = played(trainer, Server(tokenizer))
    assert len(batch.keys) == 2 * GROUP
    prompts, responses, masks, scores, log_probs = map(
        rows_of,
        fields(batch, "prompts", "responses", "response_mask", "rm_scores", "rollout_log_probs"),
    )
    extra, told = fields(batch, "extra_fields", "extra_info")
    speech = read_speech(tokenizer, get_dialect("rlla"))
    options = episode_options(episode_settings(given, tmp_path / "log"))
    with Episodes(options, tokenizer, speech) as episodes:
        ours = episodes.play(
            [json.loads(each["row"]) for each in told],
            [episode_seed(given.seed, 1, each["index"], heldout=False) for each in told],
            lambda prompts, size: Batched(tokenizer).of(prompts, size),
        ).trajectories
    assert len({each.ending for each in ours}) > 1 and any(len(each.turns) > 1 for each in ours)
    for row, each in enumerate(ours):
        assert prompts[row] == each.prompt_ids
        assert responses[row] == each.ids
        assert masks[row] == list(map(int, each.sampled))
        assert log_probs[row] == [-0.5 * own for own in masks[row]]
        assert sum(scores[row]) == pytest.approx(each.reward)
        assert extra[row][RECORD] == json.dumps(episode_record(each))
        assert batch.tags[row]["min_global_steps"] == batch.tags[row]["max_global_steps"] == 0


def test_the_queue_s_episodes_are_credited(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, recipe("advantage.credit=turns"))
    batch = played(trainer, Server(tokenizer))
    (masks,) = fields(batch, "response_mask")
    batch = with_old_policy(batch, [[0.5] * len(row) for row in masks.unbind()])
    metrics = {}
    batch = trainer._compute_advantage(batch, metrics)
    (advantages,) = fields(batch, "advantages")
    for one, mask in zip(advantages.unbind(), masks.unbind(), strict=True):
        assert not one[mask == 0].any() and one.isfinite().all()
    assert metrics["ending/failed"] == 0 and metrics["episode/turns"] > 1
    assert metrics["reward"] == pytest.approx(metrics["episode/reward"])


@pytest.mark.parametrize("credit", CREDITS)
def test_the_queue_holds_the_golden_weights_and_credits(tmp_path, credit):
    trainer = make_trainer(tmp_path, recipe(f"advantage.credit={credit}"))
    golden = read()
    made, keys, tags = [], [], []
    for row, found in enumerate(golden["rows"]):
        uid, response = f"prompt{row // GROUP}", found["ids"]
        scores = torch.zeros(len(response))
        scores[-1] = found["episode"]["reward"] or 0.0
        made.append(
            {
                "uid": uid,
                "prompts": torch.tensor(found["prompt"]),
                "responses": torch.tensor(response),
                "response_mask": torch.tensor(found["mask"]),
                "rm_scores": scores,
                "rollout_log_probs": torch.full((len(response),), -1.0),
                "extra_fields": {RECORD: json.dumps(found["episode"])},
            }
        )
        keys.append(f"{uid}_{row % GROUP}_0")
        tags.append({"status": "success"})
    batch = tq.kv_batch_put(
        keys=keys, partition_id="train", fields=tu.list_of_dict_to_tensordict(made), tags=tags
    )
    batch = with_old_policy(batch, [row["entropies"] for row in golden["rows"]])
    metrics = {}
    batch = trainer._compute_advantage(batch, metrics)
    (advantages,) = fields(batch, "advantages")
    for one, wanted in zip(advantages.unbind(), golden["weighted"][credit], strict=True):
        torch.testing.assert_close(one, torch.tensor(wanted), **CLOSE)
    assert metrics["ending/failed"] == 1 / 8


def test_failed_episodes_reach_the_queue_and_count_for_nothing(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, recipe(REFUSING), refused=1)
    batch = played(trainer, Server(tokenizer))
    (masks,) = fields(batch, "response_mask")
    begun = [any(row) for row in rows_of(masks)]
    assert sum(begun) == GROUP and len(begun) == 2 * GROUP  # none is missing
    assert all(tag["min_global_steps"] == 0 for tag in batch.tags)
    trainer._tell_failures(batch)
    batch = with_old_policy(batch, [[0.5] * len(row) for row in masks.unbind()])
    metrics = {}
    batch = trainer._compute_advantage(batch, metrics)
    (advantages,) = fields(batch, "advantages")
    for one, had in zip(advantages.unbind(), begun, strict=True):
        assert one.isfinite().all() and (had or not one.any())
    assert metrics["ending/failed"] == 0.5 and "reward" in metrics


@pytest.mark.parametrize(
    ("more", "refused", "said"),
    [
        (["environment.failure=stop"], 1, "the environment failed: "),
        ([], 0, "no episode of a batch has begun: "),
    ],
)
def test_what_stops_a_run_is_one_line(tmp_path, tokenizer, more, refused, said):
    trainer = make_trainer(tmp_path, recipe(REFUSING, *more), refused=refused)
    batch = played(trainer, Server(tokenizer))
    with pytest.raises(InputError) as error:
        trainer._compute_old_log_prob(batch, {})
    assert str(error.value).startswith(said) and "Refusing: reset raised" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_turn_that_the_server_breaks_off_is_unscored(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, recipe())
    batch = played(trainer, Server(tokenizer, aborts=True))
    (extra,) = fields(batch, "extra_fields")
    for each in extra:
        record = json.loads(each[RECORD])
        assert (record["ending"], record["reward"]) == (Ending.FAILED, None)
        assert record["failure"] == "verl's server broke off a turn"


def test_evaluations_leave_failed_episodes_out(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, recipe())
    trainer.agent_loop_manager = Manager(trainer, Server(tokenizer))
    trainer.reward_loop_manager = type("Handles", (), {"reward_loop_worker_handles": []})()
    found = _evaluation(trainer._validate(), acts=True)
    assert set(found) == {"greedy_reward", "greedy_exact_match", "greedy_turns", "failed"}
    assert found["failed"] == 0.0 and found["greedy_turns"] >= 1
    trainer.agent_loop_manager = Manager(trainer, Server(tokenizer, aborts=True))
    assert _evaluation(trainer._validate(), acts=True) == {"failed": 1.0}


def test_another_agent_loop_is_found_out(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, recipe())
    trainer.config.actor_rollout_ref.rollout.agent.default_agent_loop = "single_turn_agent"
    trainer.agent_loop_manager = Manager(trainer, Plain(tokenizer))
    trainer._add_batch_to_generate()
    batch, _ = trainer.replay_buffer.sample(global_steps=1, partition_id="train", batch_size=2)
    with pytest.raises(WeightsNotApplied, match="did not play it by toolrest's agent loop"):
        trainer._score(batch, {})


class Plain(Server):
    """A server that is asked by verl's own loop."""

    async def generate(self, request_id, *, prompt_ids, sampling_params, **more):
        return TokenOutput(token_ids=[5, 6], log_probs=[-1.0, -1.0], stop_reason="completed")
