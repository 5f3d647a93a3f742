"""The plug-in in a real Ray with a real TransferQueue, on the golden rollouts. Needs verl.

What needs GPUs is stood in for: the actor's workers are one Ray worker that runs verl's `ppo_loss`.
"""

import os
import signal
import subprocess
import sys

import pytest
import torch

pytest.importorskip("verl", reason="tests/engines/verl/environment.sh makes an environment with it")

import ray
import transfer_queue as tq
from golden_rollouts import CLOSE, GROUP, STEPS, read
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from verl.trainer.ppo.padding_utils import upsample_batch_to_divisible_size
from verl.trainer.ppo.v1 import PPOTrainerSync, get_trainer_cls
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.metric import Metric
from verl.workers.utils.losses import ppo_loss

from toolrest import RegionEntropy, TokenBatch, Vocabulary, get_dialect, get_scheme, label_tokens
from toolrest.core import credit as advantage_rules
from toolrest.core.dialects import ToolCall
from toolrest.core.regions import Region
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.engines.verl.hydra import hydra_value
from toolrest.engines.verl.names import MODULE
from toolrest.engines.verl.overrides import run_paths, verl_command, verl_overrides
from toolrest.engines.verl.rows import write_rows
from toolrest.engines.verl.weights import SIGNAL, SPREAD, WeightsNotApplied
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.tasks import Split, make_samples

LOADED = {"VERL_USE_EXTERNAL_MODULES": MODULE, "OMP_NUM_THREADS": "1"}
NOT_LOADED = {
    "VERL_USE_EXTERNAL_MODULES": "",
    "VERL_USE_EXTERNAL_PLUGINS": "none",
    "OMP_NUM_THREADS": "1",
}
MICRO = 4
TRUTH = get_dialect("rlla").render(
    thought="I call.", calls=(ToolCall("find", {"city": "Oslo"}),), response=None
)


@pytest.fixture(scope="module", autouse=True)
def queue():
    # Ray places TransferQueue's actors by logical processors; with the machine's few it waits.
    ray.init(num_cpus=16, include_dashboard=False, runtime_env={"env_vars": LOADED})
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    storage = {"total_storage_size": 1000, "num_data_storage_units": 2}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    yield
    tq.close()
    ray.shutdown()


def recipe(*overrides):
    start = ["engine=verl", "data.path=rows.parquet", f"policy={policy_path(Recipe())}"]
    sizes = [
        "rollout.prompts_per_step=2",
        f"rollout.group_size={GROUP}",
        f"optimizer.micro_batch={MICRO}",
        f"max_steps={STEPS}",
        "save_steps=1",
        "weighting.entropy_source=exact",
        "weighting.normalise=trajectory",  # as the golden rollouts, whose masks have gaps
    ]
    return load_recipe(None, [*start, *sizes, *overrides])


def config_of(folder, *overrides):
    settings = verl_overrides(recipe(*overrides), "one", run_paths(folder, evaluated=False))
    written = [f"{key}={hydra_value(value)}" for key, value in settings.items()]
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=written)


def make_trainer(folder, *overrides, mode="sync"):
    """A trainer as verl's task runner makes it, up to where GPUs are needed."""
    config = config_of(folder, *overrides)
    trainer = get_trainer_cls(config.trainer.v1.trainer_mode)(config=config)
    trainer._init_tokenizer()
    trainer.total_training_steps = STEPS
    trainer.global_steps = 1
    return trainer


def nested(rows, dtype):
    tensors = [torch.tensor(row, dtype=dtype) for row in rows]
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)


def put(trainer, generation, padding=0, partition="train"):
    """Put a generation into the queue as verl's agent loops do, then as its old policy does."""
    trainer.global_steps = generation["step"] + 1
    fields, keys, tags = [], [], []
    for row, found in enumerate(generation["rows"]):
        uid = f"step{generation['step']}prompt{row // GROUP}"
        prompt, response = [1, 2, 3], found["ids"]
        # The score on the constant ranges, which the trainer has to put on the schedule's.
        score = found["format"] - 3 + 6 * found["correctness"]
        info = {
            "score": score,
            "format": found["format"],
            "correctness": found["correctness"],
            "correctness_counts": 1.0,
            "exact_match": float(found["correctness"] == 1.0),
        }
        info |= dict.fromkeys(("names", "parameters", "values", "over_called"), 0.0)
        scores = torch.zeros(len(response))
        scores[-1] = score
        mask = torch.tensor(found["mask"])
        fields.append(
            {
                "uid": uid,
                "prompts": torch.tensor(prompt),
                "responses": torch.tensor(response),
                "input_ids": torch.tensor(prompt + response),
                "position_ids": torch.arange(len(prompt + response)),
                "response_mask": mask,
                "loss_mask": mask,
                "rm_scores": scores,
                "rollout_log_probs": torch.full((len(response),), -1.0),
                "num_turns": 2,
                "extra_fields": {"reward_extra_info": info},
                "reward_model": {"style": "rule", "ground_truth": TRUTH},
                "extra_info": {"index": row, "tools": ""},
            }
        )
        keys.append(f"{uid}_{row % GROUP}_0")
        tags.append({"status": "success", "seq_len": len(prompt + response)})
    batch = tq.kv_batch_put(
        keys=keys, partition_id=partition, fields=tu.list_of_dict_to_tensordict(fields), tags=tags
    )
    if padding:
        multiple = len(keys) + padding
        batch = upsample_batch_to_divisible_size(batch, multiple, trainer.tokenizer.eos_token_id)
    rows = generation["rows"]
    entropies = [row["entropies"] for row in rows] + [[7.0]] * padding
    old = [[-1.0] * len(row["ids"]) for row in rows] + [[-1.0]] * padding
    return tq.kv_batch_put(
        keys=batch.keys,
        partition_id=partition,
        fields=TensorDict(
            {
                "entropy": nested(entropies, torch.float32),
                "old_log_probs": nested(old, torch.float32),
            },
            batch_size=len(batch.keys),
        ),
    )


def field(batch, name):
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=[name])
    return [row.clone() for row in data[name].unbind()]


@pytest.fixture
def trainer(tmp_path, programs):
    return make_trainer(tmp_path)


@pytest.fixture(autouse=True)
def cleared():
    yield
    listed = tq.kv_list("train") or {}
    keys = list(listed.get("train", {}))
    if keys:
        tq.kv_clear(keys=keys, partition_id="train")


def core_advantages(trainer, generation):
    """w_t * A_i by the core's functions alone."""
    rows = generation["rows"]
    longest = max(len(row["ids"]) for row in rows)

    def padded(name, dtype):
        return torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows]).to(
            dtype
        )

    ids, mask = padded("ids", torch.int64), padded("mask", torch.bool)
    dialect, scheme = get_dialect("rlla"), get_scheme("rest")
    vocabulary = Vocabulary.from_tokenizer(
        trainer.tokenizer, written_special_tokens=dialect.special_tokens
    )
    regions = label_tokens(ids, mask, vocabulary, dialect, scaffolding=scheme.scaffolding)
    entropy = RegionEntropy.measure(padded("entropies", torch.float32), regions, mask)
    weights = scheme(TokenBatch(regions, mask, generation["progress"], entropy))
    rewards = torch.tensor([row["reward"] for row in rows])
    # verl divides by the deviation plus 1e-6
    each = advantage_rules.group_normalise(rewards, GROUP, delta=1e-6)
    return weights, advantage_rules.apply(weights, each), each


@pytest.mark.parametrize("padding", [0, 3])
def test_the_queue_holds_the_cores_advantages_and_the_golden_weights(trainer, padding):
    for generation in read():
        batch = put(trainer, generation, padding)
        metrics = {}
        batch = trainer._compute_advantage(batch, metrics)
        found = field(batch, "advantages")
        weights, weighted, each = core_advantages(trainer, generation)
        for row, expected in enumerate(generation["rows"]):
            length = len(expected["ids"])
            torch.testing.assert_close(found[row], weighted[row, :length], **CLOSE)
            golden = torch.tensor(expected["weights"])
            if each[row] != 0:  # a group whose responses earn the same has no signal to divide by
                torch.testing.assert_close(found[row] / each[row], golden, **CLOSE)
            torch.testing.assert_close(weights[row, :length], golden, **CLOSE)
        assert each.any()
        assert len(found) == len(generation["rows"]) + padding
        assert all(not row.any() for row in found[len(generation["rows"]) :])
        rewards = [row["reward"] for row in generation["rows"]]
        assert metrics["reward"] == pytest.approx(sum(rewards) / len(rewards))
        exact = sum(row["correctness"] == 1.0 for row in generation["rows"])
        assert metrics["reward/exact_match"] == exact / len(rewards)
        for region in ("format", "reasoning"):
            for kind in ("share", "weight", "signal", "entropy"):
                assert metrics[f"{kind}/{region}"] > 0
        assert sum(metrics.get(f"signal/{r.name.lower()}", 0) for r in Region) == pytest.approx(1)


@pytest.mark.parametrize("padding", [0, 3])
def test_spans_are_credited_by_what_the_queue_holds(tmp_path, programs, padding):
    trainer = make_trainer(
        tmp_path, "advantage={credit: spans, discount: 0.5}", "weighting.scheme=uniform"
    )
    rows = read()[0]["rows"]
    batch = trainer._compute_advantage(put(trainer, read()[0], padding), {})
    longest = max(len(row["ids"]) for row in rows)
    ids, mask = (
        torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
        for name in ("ids", "mask")
    )
    asked, vocabulary = [Asked(TRUTH)] * len(rows), trainer.speech.vocabulary
    decided = batch_potentials(ids, mask.bool(), asked, ToolReward(), vocabulary, 0.0)
    rewards = torch.tensor([row["reward"] for row in rows], dtype=torch.float64)
    expected = advantage_rules.reward_to_go(rewards, decided, GROUP, discount=0.5) * mask
    found = field(batch, "advantages")
    assert any(len(set(row[row != 0].tolist())) > 1 for row in found)
    for row, wanted in enumerate(expected):
        torch.testing.assert_close(found[row].double(), wanted[: len(found[row])], **CLOSE)
    assert all(not row.any() for row in found[len(rows) :])


def test_uniform_weights_are_verls_own_advantages_bitwise(tmp_path):
    trainer = make_trainer(tmp_path, "weighting.scheme=uniform", "reward.schedule=constant")
    generation = read()[0]
    batch = trainer._compute_advantage(put(trainer, generation, padding=2), {})
    ours = field(batch, "advantages")
    tq.kv_clear(keys=batch.keys, partition_id="train")
    batch = put(trainer, generation, padding=2)
    plain = PPOTrainerSync._compute_advantage(trainer, batch, {})
    for one, other in zip(ours, field(plain, "advantages"), strict=True):
        assert torch.equal(one, other)


def test_each_mode_has_its_trainer_and_verls_name(tmp_path):
    for mode, more in (
        ("sync", []),
        ("colocate_async", []),
        ("separate_async", ["engine.options={actor_rollout_ref.rollout.nnodes: 1}"]),
    ):
        trainer = make_trainer(tmp_path, f"engine.mode={mode}", *more)
        assert trainer.trainer_mode == mode
        asynchronous = "Async" in type(trainer.replay_buffer).__name__
        assert asynchronous == (mode != "sync")
        generation = read()[1]
        batch = trainer._compute_advantage(put(trainer, generation), {})
        _, weighted, _ = core_advantages(trainer, generation)
        for row, found in enumerate(field(batch, "advantages")):
            torch.testing.assert_close(found, weighted[row, : len(found)], **CLOSE)
        tq.kv_clear(keys=batch.keys, partition_id="train")


@ray.remote
class Learner:
    """What an actor's worker does with a batch: read it from the queue, and verl's loss."""

    def __init__(self):
        import verl  # noqa: F401  the plug-in is loaded by verl, or not

        tq.init()

    def losses(self, actor, batch, micro):
        config = omega_conf_to_dataclass(actor)
        names = ["prompts", "responses", "response_mask", "old_log_probs", "advantages"]
        found = []
        for start in range(0, len(batch.keys), micro):
            data = tq.kv_batch_get(
                keys=batch.keys[start : start + micro],
                partition_id=batch.partition_id,
                select_fields=names,
            )
            found.append(loss_of(config, data))
        return [(value.item(), dict(metrics)) for value, metrics, _ in found]


def loss_of(config, data):
    """verl's loss of a micro-batch, with a policy that has moved a little since the old one."""
    lengths = data["prompts"].offsets().diff() + data["responses"].offsets().diff()
    moved = torch.linspace(-0.5, 0.5, int(lengths.sum())) - 1.0
    moved.requires_grad_()
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=400, global_batch_size=8)
    value, metrics = ppo_loss(config, {"log_probs": moved}, data)
    value.backward()
    return value, metrics, moved.grad


@pytest.fixture(scope="module")
def learner():
    """A worker that has loaded the plug-in."""
    return Learner.options(runtime_env={"env_vars": LOADED}).remote()


class Workers:
    """Stands in for verl's worker group of actors."""

    def __init__(self, config, learner):
        self.config = config
        self.learner = learner

    def update_actor(self, batch):
        found = ray.get(
            self.learner.losses.remote(self.config.actor_rollout_ref.actor, batch, MICRO)
        )
        metrics = {"mfu": [0.0]}
        for _, each in found:
            for name, metric in each.items():
                metrics.setdefault(name, metric.init_list()).append(metric)
        return {
            "metrics": {
                k: v.aggregate() if isinstance(v, Metric) else v for k, v in metrics.items()
            }
        }

    def save_checkpoint(self, *positional, **keywords):
        pass

    load_checkpoint = save_checkpoint


def test_the_worker_sees_the_weighted_advantages(trainer, learner):
    trainer.actor_rollout_wg = Workers(trainer.config, learner)
    metrics = {}
    batch = trainer._compute_advantage(put(trainer, read()[0], padding=4), metrics)
    trainer._update_actor(batch, metrics)
    _, weighted, _ = core_advantages(trainer, read()[0])
    assert metrics[SIGNAL] == pytest.approx(weighted.square().sum().item() / 12, rel=1e-5)
    assert metrics[SPREAD] == pytest.approx(8 / 12)
    assert "actor/pg_loss" in metrics


def test_a_worker_without_the_plug_in_fails(trainer):
    bare = Learner.options(runtime_env={"env_vars": NOT_LOADED}).remote()
    trainer.actor_rollout_wg = Workers(trainer.config, bare)
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    with pytest.raises(
        ray.exceptions.RayTaskError, match="Unsupported loss mode: toolrest_vanilla"
    ):
        trainer._update_actor(batch, {})


def test_a_trainer_that_weighs_nothing_fails(trainer, learner, monkeypatch):
    monkeypatch.setattr(type(trainer), "_compute_advantage", PPOTrainerSync._compute_advantage)
    trainer.actor_rollout_wg = Workers(trainer.config, learner)
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    with pytest.raises(WeightsNotApplied, match="no weights were made"):
        trainer._update_actor(batch, {})


def test_advantages_that_are_plain_again_fail(trainer, learner):
    trainer.actor_rollout_wg = Workers(trainer.config, learner)
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    batch = PPOTrainerSync._compute_advantage(trainer, batch, {})
    with pytest.raises(WeightsNotApplied, match="plain GRPO"):
        trainer._update_actor(batch, {})


def test_advantages_of_another_weighting_fail(trainer, learner, tmp_path):
    trainer.actor_rollout_wg = Workers(trainer.config, learner)
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    other = make_trainer(tmp_path, "weighting.scheme=official")
    batch = other._compute_advantage(batch, {})
    with pytest.raises(WeightsNotApplied, match="those of the weighted ones"):
        trainer._update_actor(batch, {})


def test_a_worker_with_another_loss_fails(trainer, learner):
    trainer.actor_rollout_wg = Workers(trainer.config, learner)
    with open_dict(trainer.config):
        trainer.config.actor_rollout_ref.actor.policy_loss.loss_mode = "vanilla"
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    with pytest.raises(WeightsNotApplied, match="did not use toolrest's loss"):
        trainer._update_actor(batch, {})


def test_a_queue_that_loses_the_weights_fails(trainer, monkeypatch):
    batch = put(trainer, read()[0])
    real = tq.kv_batch_put

    def losing(keys, partition_id, fields=None, tags=None):
        if fields is not None and set(fields.keys()) == {"advantages"}:
            return batch
        return real(keys=keys, partition_id=partition_id, fields=fields, tags=tags)

    monkeypatch.setattr(tq, "kv_batch_put", losing)
    with pytest.raises(WeightsNotApplied, match="other advantages back"):
        trainer._compute_advantage(batch, {})


@pytest.mark.parametrize("loss", ["vanilla", "gspo", "sapo", "cispo", "gpg", "dppo_tv", "dppo_kl"])
def test_the_reporting_loss_is_verls_own_bitwise(tmp_path, loss):
    option = f"engine.options={{actor_rollout_ref.actor.policy_loss.loss_mode: {loss}}}"
    trainer = make_trainer(tmp_path, "weighting.scheme=uniform", option)
    generation = read()[0]
    uniform = trainer._compute_advantage(put(trainer, generation), {})
    names = ["prompts", "responses", "response_mask", "old_log_probs", "advantages"]
    found = []
    for mode in (f"toolrest_{loss}", loss):
        data = tq.kv_batch_get(keys=uniform.keys, partition_id="train", select_fields=names)
        with open_dict(trainer.config):
            trainer.config.actor_rollout_ref.actor.policy_loss.loss_mode = mode
        found.append(loss_of(omega_conf_to_dataclass(trainer.config.actor_rollout_ref.actor), data))
    (value, metrics, gradient), (plain, _, plain_gradient) = found
    assert torch.equal(value, plain)
    assert torch.equal(gradient, plain_gradient)
    assert gradient.abs().sum() > 0
    assert SIGNAL in metrics


@pytest.mark.parametrize("loss", ["vanilla", "gspo", "sapo", "cispo", "gpg", "dppo_tv", "dppo_kl"])
def test_a_weight_scales_its_tokens_gradient_and_no_other(tmp_path, loss):
    """What a loss has to be in EXACT_LOSSES for; vanilla clips no token by its advantage's size."""
    option = f"engine.options={{actor_rollout_ref.actor.policy_loss.loss_mode: {loss}}}"
    trainer = make_trainer(tmp_path, option)
    batch = trainer._compute_advantage(put(trainer, read()[0]), {})
    names = ["prompts", "responses", "response_mask", "old_log_probs", "advantages"]
    config = omega_conf_to_dataclass(trainer.config.actor_rollout_ref.actor)
    gradients = []
    for scale in (1.0, 3.0):
        data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=names)
        rows = [row.clone() for row in data["advantages"].unbind()]
        rows[2][5] *= scale
        data["advantages"] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        gradients.append(loss_of(config, data)[2])
    before, after = gradients
    changed = (before != after).nonzero().flatten().tolist()
    assert len(changed) <= 1
    for at in changed:
        assert after[at] == pytest.approx(3.0 * before[at].item(), rel=1e-5)


def checkpointed(folder, source):
    trainer = make_trainer(folder, f"weighting.entropy_source={source}")
    trainer.actor_rollout_wg = Workers.__new__(Workers)

    class Loader:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    trainer.train_dataloader = Loader()
    return trainer


@pytest.mark.parametrize("source", ["online", "static"])
def test_a_resumed_run_weighs_as_a_straight_one(tmp_path, source):
    straight = checkpointed(tmp_path, source)
    for generation in read()[:2]:
        straight._compute_advantage(put(straight, generation), {})
    straight._save_checkpoint()
    batch = straight._compute_advantage(put(straight, read()[2]), {})
    right = field(batch, "advantages")
    tq.kv_clear(keys=batch.keys, partition_id="train")
    resumed = checkpointed(tmp_path, source)
    resumed._load_checkpoint()
    assert resumed.global_steps == 2
    batch = resumed._compute_advantage(put(resumed, read()[2]), {})
    for one, other in zip(field(batch, "advantages"), right, strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_without_our_state_is_not_resumed(tmp_path):
    trainer = checkpointed(tmp_path, "online")
    trainer._compute_advantage(put(trainer, read()[0]), {})
    trainer._save_checkpoint()
    (tmp_path / "checkpoints" / "global_step_1" / "toolrest_state.json").unlink()
    with pytest.raises(WeightsNotApplied, match=r"no toolrest_state\.json"):
        checkpointed(tmp_path, "online")._load_checkpoint()


def test_a_configuration_without_our_settings_is_refused(tmp_path):
    config = config_of(tmp_path)
    with open_dict(config):
        del config["toolrest"]
    with pytest.raises(WeightsNotApplied, match="no section toolrest"):
        get_trainer_cls("toolrest_sync")(config=config)


PROGRAMS = {
    "loaded": LOADED,
    "not loaded": NOT_LOADED,
    "does not import": {**LOADED, "VERL_USE_EXTERNAL_MODULES": "toolrest.engines.missing"},
}


@pytest.fixture(scope="module")
def programs(queue, tmp_path_factory, embedded_tokenizer):
    """verl's own program with the command that we print, once with each plug-in; they run while
    other tests do.
    """
    started = {}
    for name, variables in PROGRAMS.items():
        folder = tmp_path_factory.mktemp("program")
        paths = run_paths(folder, evaluated=False)
        samples = make_samples(Split.TRAIN, 4)
        write_rows(samples, paths.train, embedded_tokenizer, get_dialect("rlla"), written_out=False)
        given = recipe("evaluation.samples=0")
        environment, arguments = verl_command(given, "one", paths, sys.executable)
        arguments = [word for word in arguments if "env_vars.VERL_USE_EXTERNAL" not in word]
        for variable, value in variables.items():
            key = f"+ray_kwargs.ray_init.runtime_env.env_vars.{variable}"
            arguments.append(f"{key}={hydra_value(value)}")
        arguments += [
            "ray_kwargs.ray_init.num_cpus=16",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        ]
        log = (folder / "log.txt").open("w+")
        process = subprocess.Popen(
            arguments,
            env={**os.environ, **environment, **variables},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started[name] = (process, log)
    yield started
    for process, log in started.values():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("does not import", "No module named 'toolrest.engines.missing'"),
        ("not loaded", "Unknown trainer 'toolrest_sync'"),
        # With the plug-in our trainer is made, reads its rows, and then misses the GPUs.
        ("loaded", "Total available GPUs 0 is less than total desired GPUs 1"),
    ],
)
def test_how_far_verls_own_program_comes(programs, name, words):
    if name == "loaded" and torch.cuda.is_available():
        pytest.skip("with a GPU it would train")
    process, log = programs[name]
    assert process.wait(timeout=240) != 0
    log.seek(0)
    text = log.read()
    assert words in text, text[-3000:]
