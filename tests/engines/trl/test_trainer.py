"""The TRL engine's invariants, on the embedded policy and a few short responses."""

import json
import logging

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl_settings import settings

from toolrest.core.regions import Region
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.checks import check_whole_groups
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.errors import InputError
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.fixture(scope="module")
def dataset():
    samples = make_samples(Split.TRAIN, 16)
    return Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )


def train(trainer_class, config, dataset, tokenizer, resume=None, **more):
    trainer = trainer_class(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        args=config,
        **more,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def parameters(trainer):
    return dict(trainer.model.state_dict())


def assert_bitwise_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize(
    ("loss_type", "more"),
    [
        ("grpo", {}),
        pytest.param("dapo", {"num_iterations": 2}, marks=pytest.mark.slow),
        pytest.param("grpo", {"num_iterations": 2}, marks=pytest.mark.slow),
        pytest.param("grpo", {"steps_per_generation": 4}, marks=pytest.mark.slow),
        pytest.param("dapo", {}, marks=pytest.mark.slow),
        pytest.param("dapo", {"steps_per_generation": 4}, marks=pytest.mark.slow),
    ],
)
def test_uniform_weights_are_grpo_bitwise(tmp_path, dataset, embedded_tokenizer, loss_type, more):
    options = settings(tmp_path, loss_type=loss_type, **more)
    plain = train(GRPOTrainer, GRPOConfig(**options), dataset, embedded_tokenizer)
    ours = train(
        ResTTrainer, ResTConfig(weighting="uniform", **options), dataset, embedded_tokenizer
    )
    start = dict(load_policy(Recipe()).state_dict())
    assert any(not torch.equal(start[k], v) for k, v in parameters(plain).items())
    assert_bitwise_equal(parameters(plain), parameters(ours))


@pytest.mark.slow
def test_weights_change_the_training(tmp_path, dataset, embedded_tokenizer):
    runs = [
        train(
            ResTTrainer,
            ResTConfig(weighting=name, **settings(tmp_path)),
            dataset,
            embedded_tokenizer,
        )
        for name in ("uniform", "rest")
    ]
    one, other = (parameters(run) for run in runs)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"entropy_source": "online"}, marks=pytest.mark.slow),
        pytest.param({"entropy_source": "static"}, marks=pytest.mark.slow),
        {"entropy_source": "online", "num_iterations": 2, "max_steps": 4, "save_steps": 2},
        pytest.param({"weighting": "official"}, marks=pytest.mark.slow),
        pytest.param({"weighting": "rest*stare", "credit": "spans"}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_a_straight_run_bitwise(tmp_path, dataset, embedded_tokenizer, more):
    options = settings(tmp_path, max_steps=2, save_strategy="steps", save_steps=1) | more
    straight = train(ResTTrainer, ResTConfig(**options), dataset, embedded_tokenizer)
    resumed = train(
        ResTTrainer,
        ResTConfig(**options),
        dataset,
        embedded_tokenizer,
        resume=str(tmp_path / f"checkpoint-{options['save_steps']}"),
    )
    assert resumed.state.global_step == options["max_steps"]
    assert_bitwise_equal(parameters(straight), parameters(resumed))


@pytest.mark.stored_numbers
def test_a_split_batch_is_the_whole_batch(tmp_path, dataset, embedded_tokenizer):
    """Gradients add up in another order, so equal to rounding and not bitwise."""
    whole = settings(tmp_path, entropy_source="exact", max_steps=1, learning_rate=1e-4)
    split = whole | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    gradients = []
    for options in (whole, split):
        trainer = ResTTrainer(
            model=load_policy(Recipe()),
            processing_class=embedded_tokenizer,
            reward_funcs=[ToolReward()],
            train_dataset=dataset,
            args=ResTConfig(**options),
        )
        trainer.train()
        gradients.append(trainer.state.log_history[0]["grad_norm"])
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-4)
    assert gradients[0] > 0


@pytest.mark.slow
def test_collisions_are_those_of_the_old_policy_s_forward_and_not_of_sampling(
    tmp_path, dataset, embedded_tokenizer
):
    """With two passes over a generation TRL forwards the old policy in the call that samples, too,
    whose forwards have transformers' own head.
    """
    measured = []

    class Spy(ResTTrainer):
        def _region_entropy(self, *arguments):
            measured.append(super()._region_entropy(*arguments))
            return measured[-1]

    options = settings(tmp_path, num_iterations=2, max_steps=2, prefix_sharing="off")
    config = ResTConfig(weighting_options={"rule": "collision"}, **options)
    first = train(Spy, config, dataset, embedded_tokenizer).state.log_history[0]
    for region in (Region.FORMAT, Region.REASONING):
        logged = first[f"collision/{region.name.lower()}"]  # on policy: the same distribution
        assert measured[0].mean[region].item() == pytest.approx(logged, rel=1e-4)


def test_a_run_by_collisions_tells_its_entropies_too(tmp_path, dataset, embedded_tokenizer):
    """A collapse shows by that of the reasoning, whatever the scheme weighs by."""
    logged = []
    for rule in ("collision", "inverse_score"):
        options = settings(tmp_path, max_steps=1)
        config = ResTConfig(weighting_options={"rule": rule}, **options)
        logged.append(train(ResTTrainer, config, dataset, embedded_tokenizer).state.log_history[0])
    for region in (Region.FORMAT, Region.REASONING):
        name = f"entropy/{region.name.lower()}"
        assert logged[0][name] == pytest.approx(logged[1][name], rel=1e-4)
    assert logged[0]["collision/reasoning"] < logged[0]["entropy/reasoning"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("online", "collision"),
        ("online", "inverse_score"),
        ("exact", "collision"),
        ("exact", "inverse_score"),
    ],
)
def test_rollouts_carry_the_core_s_weights(tmp_path, dataset, embedded_tokenizer, rule, source):
    batches = []
    config = ResTConfig(
        weighting_options={"rule": rule}, entropy_source=source, **settings(tmp_path)
    )
    trainer = train(ResTTrainer, config, dataset, embedded_tokenizer, on_rollouts=batches.append)
    assert [batch.step for batch in batches] == [0, 1, 2]
    for batch in batches:
        rows = batch.mask.sum(dim=1)
        assert torch.allclose(batch.weights.sum(dim=1), rows.float(), rtol=1e-5)
        assert (batch.weights[~batch.mask] == 0).all()
        assert set(batch.regions[batch.mask].tolist()) <= set(Region)
        assert len(batch.breakdowns) == len(batch.inputs) == 8
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == 3
    statistic = "collision" if rule == "collision" else "entropy"
    for entry in logs:
        for kind in ("share", "signal"):
            assert sum(entry[f"{kind}/{r.name.lower()}"] for r in Region) == pytest.approx(1)
        mean = sum(
            entry[f"share/{r.name.lower()}"] * entry.get(f"weight/{r.name.lower()}", 0)
            for r in Region
        )
        assert mean == pytest.approx(1, abs=1e-4)
        assert 0 < entry[f"{statistic}/reasoning"] < 3
        assert "reward/exact_match" in entry


@pytest.mark.slow
def test_exact_entropies_are_those_of_the_training_forward(tmp_path, dataset, embedded_tokenizer):
    """On policy, the extra forward and the training forward see the same distribution."""
    followed = {}

    class Spy(ResTTrainer):
        def _region_entropy(self, *arguments):
            entropy = super()._region_entropy(*arguments)
            followed[self.state.global_step] = entropy
            return entropy

    config = ResTConfig(entropy_source="exact", **settings(tmp_path))
    trainer = train(Spy, config, dataset, embedded_tokenizer)
    for step, entry in enumerate(e for e in trainer.state.log_history if "reward" in e):
        for region in (Region.FORMAT, Region.REASONING):
            logged = entry[f"entropy/{region.name.lower()}"]
            assert followed[step].mean[region].item() == pytest.approx(logged, rel=1e-4)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"importance_sampling_level": "sequence"}, "mean 1 cancel"),
        ({"loss_type": "vespo"}, "does not weigh tokens"),
        ({"top_entropy_quantile": 0.2}, "low-entropy tokens"),
        ({"entropy_source": "onlin"}, "did you mean 'online'"),
        ({"entropy_decay": 1.0}, "entropy_decay"),
        ({"weighting": "rset"}, "did you mean 'rest'"),
        ({"dialect": "rlle"}, "did you mean 'rlla'"),
        ({"credit": "span"}, "did you mean 'spans'"),
        ({"save_strategy": "steps", "save_steps": 3, "num_iterations": 2}, "multiple of 2"),
        ({"use_transformers_continuous_batching": True, "bf16": True}, "leaves them so"),
    ],
)
def test_settings_that_break_the_weights_are_refused(
    tmp_path, dataset, embedded_tokenizer, more, text
):
    with pytest.raises(InputError, match=text):
        ResTTrainer(
            model=load_policy(Recipe()),
            processing_class=embedded_tokenizer,
            reward_funcs=[ToolReward()],
            train_dataset=dataset,
            args=ResTConfig(**(settings(tmp_path) | more)),
        )


def test_grpo_may_use_a_sequence_ratio(tmp_path, dataset, embedded_tokenizer):
    options = settings(tmp_path, importance_sampling_level="sequence", max_steps=1)
    trainer = train(
        ResTTrainer, ResTConfig(weighting="uniform", **options), dataset, embedded_tokenizer
    )
    assert trainer.state.global_step == 1


@pytest.mark.slow
def test_a_checkpoint_without_the_engine_s_state_is_named(tmp_path, dataset, embedded_tokenizer):
    options = settings(tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    train(ResTTrainer, ResTConfig(**options), dataset, embedded_tokenizer)
    state = tmp_path / "checkpoint-1" / "toolrest_state.json"
    assert json.loads(state.read_text())["followed"]["count"]
    state.unlink()
    with pytest.raises(InputError, match=r"toolrest_state\.json"):
        train(
            ResTTrainer,
            ResTConfig(**options),
            dataset,
            embedded_tokenizer,
            resume=str(tmp_path / "checkpoint-1"),
        )


def test_a_reward_in_another_dialect_is_refused(dataset, embedded_tokenizer, tmp_path):
    config = ResTConfig(**settings(tmp_path), dialect="hermes")
    with pytest.raises(InputError, match="dialect=hermes but the reward reads rlla"):
        train(ResTTrainer, config, dataset, embedded_tokenizer)


def test_the_dialect_can_be_seen_from_the_chat_template(dataset, tmp_path):
    tokenizer = load_tokenizer(Recipe())
    tokenizer.chat_template += "{# [TOOL_CALLS] #}"
    trainer = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward("mistral")],
        train_dataset=dataset,
        args=ResTConfig(**settings(tmp_path), dialect="auto"),
    )
    assert trainer.dialect.name == "mistral"


@pytest.mark.slow
def test_uniform_weights_are_grpo_bitwise_with_shared_prefixes(
    tmp_path, dataset, embedded_tokenizer
):
    options = settings(tmp_path, loss_type="grpo")
    plain = train(
        GRPOTrainer,
        GRPOConfig(**options),
        dataset,
        embedded_tokenizer,
        rollout_func=shared_prefix_rollout,
    )
    ours = train(
        ResTTrainer,
        ResTConfig(weighting="uniform", **options),
        dataset,
        embedded_tokenizer,
        rollout_func=shared_prefix_rollout,
    )
    assert_bitwise_equal(parameters(plain), parameters(ours))


@pytest.mark.slow
def test_runs_of_one_seed_sample_with_the_same_numbers(tmp_path, dataset, embedded_tokenizer):
    """The policies part after the first step; with a learning rate of next to nothing the sampled
    ids stay the same, although the schemes differ.
    """
    seen = {}
    for scheme in ("uniform", "rest*stare"):
        batches = []
        config = ResTConfig(
            weighting=scheme, **settings(tmp_path) | {"learning_rate": 1e-9, "max_steps": 3}
        )
        train(
            ResTTrainer,
            config,
            dataset,
            embedded_tokenizer,
            rollout_func=shared_prefix_rollout,
            on_rollouts=batches.append,
        )
        seen[scheme] = [batch.completion_ids.tolist() for batch in batches]
    assert seen["uniform"] == seen["rest*stare"]
    assert seen["uniform"][0] != seen["uniform"][1]


@pytest.mark.slow
@pytest.mark.stored_numbers
@pytest.mark.parametrize("rollout", [None, shared_prefix_rollout])
def test_token_statistics_are_those_of_the_policy(tmp_path, dataset, embedded_tokenizer, rollout):
    """Surprisals against a plain forward of the policy over one response, whether another forward
    or the sampler told them.
    """
    kept = []

    class Spy(ResTTrainer):
        def _score_rollouts(self, output):
            assert rollout is None
            return super()._score_rollouts(output)

        def _token_statistics(self, output, scored):
            found = super()._token_statistics(output, scored)
            kept.append((output, found))
            return found

    config = ResTConfig(weighting="stare", **settings(tmp_path, max_steps=1, learning_rate=1e-9))
    train(Spy, config, dataset, embedded_tokenizer, rollout_func=rollout)
    [(output, found)] = kept
    counted = output["completion_mask"][0].bool()
    prompt = output["prompt_ids"][0][output["prompt_mask"][0].bool()]
    response = output["completion_ids"][0][counted]
    with torch.no_grad():
        logits = load_policy(Recipe())(torch.cat((prompt, response))[None]).logits[0]
    logps = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
    surprisal = -logps.gather(1, response[:, None])[:, 0]
    assert torch.allclose(found.surprisal[0][counted], surprisal, atol=1e-4)
    entropy = -(logps.exp() * logps).sum(-1)
    assert torch.allclose(found.entropy[0][counted], entropy, atol=1e-4)
    assert found.group_size == 4


def test_the_first_generation_s_entropy_is_kept_for_stare(tmp_path, dataset, embedded_tokenizer):
    kept = []
    config = ResTConfig(weighting="stare", **settings(tmp_path, max_steps=1, learning_rate=1e-9))
    trainer = train(ResTTrainer, config, dataset, embedded_tokenizer, on_rollouts=kept.append)
    [batch] = kept
    mean = batch.entropies[batch.mask].mean().item()
    assert trainer.start.before(1) is None
    assert trainer.start.before(2) == pytest.approx(mean, rel=1e-5)
    assert batch.weights[batch.mask].tolist() == pytest.approx([1.0] * int(batch.mask.sum()))
    other = ResTTrainer(
        load_policy(Recipe()),
        [ToolReward()],
        config,
        dataset,
        processing_class=embedded_tokenizer,
    )
    other.take_state(json.loads(json.dumps(trainer.extra_state())))
    assert other.start.before(2) == trainer.start.before(2)


def test_spans_credit_each_token_with_what_was_undecided(tmp_path, dataset, embedded_tokenizer):
    """Before the first decision the advantage is the response's own but for its scale; every
    token's sign and size come from the core's function.
    """
    kept = []

    class Spy(ResTTrainer):
        def _reward_to_go(self, inputs, ids, mask):
            found = super()._reward_to_go(inputs, ids, mask)
            kept.append((ids, mask, found, self._generation.breakdowns))
            return found

    config = ResTConfig(credit="spans", scale_rewards="none", **settings(tmp_path, max_steps=1))
    train(Spy, config, dataset, embedded_tokenizer)
    [(ids, mask, found, breakdowns)] = kept
    rewards = torch.tensor([b.total for b in breakdowns]).view(-1, 4)
    centred = (rewards - rewards.mean(1, keepdim=True)).flatten()
    assert torch.allclose(found[:, 0], centred, atol=1e-5)
    differs = [
        row for row in range(len(ids)) if len(set(found[row][mask[row]].round(decimals=5))) > 1
    ]
    assert differs


def test_spans_need_a_reward_whose_parts_are_known(tmp_path, dataset, embedded_tokenizer):
    def length(completions, **rest):
        return [float(len(str(completion))) for completion in completions]

    with pytest.raises(InputError, match="needs one reward, a ToolReward"):
        ResTTrainer(
            model=load_policy(Recipe()),
            processing_class=embedded_tokenizer,
            reward_funcs=[length],
            train_dataset=dataset,
            args=ResTConfig(credit="spans", **settings(tmp_path)),
        )


def test_groups_that_processes_would_cut_are_refused_with_credit_by_tokens(tmp_path):
    """A generation of 6 rows in groups of 4 is what 2 processes of 2 x 3 rows would have."""
    config = ResTConfig(**settings(tmp_path), credit="spans")
    check_whole_groups(config)
    config.per_device_train_batch_size = 6
    with pytest.raises(InputError, match="gets 6 responses a generation and groups have 4"):
        check_whole_groups(config)
    config.credit = "response"
    check_whole_groups(config)


def test_an_evaluation_is_trl_s_own(tmp_path, dataset, embedded_tokenizer):
    """Rewards of held-out prompts by GRPO's evaluation: no weights, nothing followed, no change."""
    trainer = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=embedded_tokenizer,
        reward_funcs=[ToolReward("rlla", "constant")],
        train_dataset=dataset,
        eval_dataset=dataset.select(range(2)),
        args=ResTConfig(**settings(tmp_path, per_device_eval_batch_size=8)),
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = trainer.evaluate()
    assert -3.0 <= found["eval_reward"] <= 4.0 and found["eval_loss"] == found["eval_loss"]
    assert not any(name.startswith(("eval_weight", "eval_share")) for name in found)
    assert all(torch.equal(before[n], value) for n, value in trainer.model.state_dict().items())
    assert trainer.extra_state()["followed"] is None
