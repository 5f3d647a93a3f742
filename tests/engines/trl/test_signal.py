"""Weights by signal in the TRL engine: what is measured, and runs that go on."""

from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from trl_settings import settings

from toolrest.core.regions import Region
from toolrest.core.sketch import WIDTH
from toolrest.core.weights import Scheme
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.job import TrlEngine
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.world.tasks import Split, make_samples

R = len(Region)


@pytest.fixture(scope="module")
def dataset():
    samples = make_samples(Split.TRAIN, 16)
    return Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )


def made(config, dataset, tokenizer, kind=ResTTrainer, **more):
    return kind(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        args=config,
        **more,
    )


def parameters(trainer):
    return torch.cat([p.detach().reshape(-1) for p in trainer.model.parameters()])


class Spy(ResTTrainer):
    """Keeps what each generation measured and what it was made of."""

    def _follow_signal(self, output, regions, mask, credited):
        self.seen = getattr(self, "seen", [])
        self.seen.append((dict(output), regions, mask, credited, self._target_credit()))
        return super()._follow_signal(output, regions, mask, credited)

    def _sketched(self, output, coefficients, metric):
        self.measured = getattr(self, "measured", [])
        found = super()._sketched(output, coefficients, metric)
        state = [self.optimizer.state[p].get("exp_avg_sq") for p in self.model.parameters()]
        kept = [None if each is None else each.clone() for each in state]
        self.measured.append((len(self.seen) - 1, found, kept, parameters(self)))
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prefix_sharing": "on", "micro_tokens": 600},
        {"loss_type": "dapo", "optim": "sgd"},
    ],
)
def test_sketches_are_of_the_gradients(tmp_path, dataset, embedded_tokenizer, more):
    """The policy of a generation, its logits by transformers, its gradients one by one."""
    config = ResTConfig(weighting="signal", **settings(tmp_path, max_steps=2), **more)
    trainer = made(config, dataset, embedded_tokenizer, Spy)
    trainer.train()
    sgd = "optim" in more
    assert len(trainer.measured) == (2 if sgd else 1)  # Adam has no v before its first step
    place, found, squares, weights = trainer.measured[-1]
    output, regions, mask, credited, aims = trainer.seen[place]
    policy = load_policy(Recipe())
    torch.nn.utils.vector_to_parameters(weights, policy.parameters())
    ids = torch.cat((output["prompt_ids"], output["completion_ids"]), 1)
    attention = torch.cat((output["prompt_mask"], output["completion_mask"]), 1)
    width = output["completion_ids"].shape[1]
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    logits = policy(ids, attention_mask=attention, position_ids=positions).logits[
        :, -width - 1 : -1
    ]
    scores = logits.log_softmax(-1).gather(2, output["completion_ids"][..., None])[..., 0] * mask
    root = [torch.ones(())] * len(squares)
    if not sgd:
        mean = sum(v.sum() for v in squares) / sum(v.numel() for v in squares)
        root = [((v / mean).sqrt() + 0.03) ** -0.5 for v in squares]
    lengths = mask.sum() if sgd else mask.sum(1, keepdim=True) * len(mask)
    weighed = credited[:, None] / lengths
    wanted = [torch.where(regions == r, weighed, 0.0) for r in Region]
    for each, sketched in zip([*wanted, aims[:, None] / len(mask)], found, strict=True):
        total = (each * scores).sum()
        gradients = torch.autograd.grad(total, list(policy.parameters()), retain_graph=True)
        scaled = [g * m for g, m in zip(gradients, root, strict=True)]
        expected = trainer._sketch(scaled)
        assert (sketched - expected).norm() <= 1e-3 * expected.norm()


def test_the_target_s_credit_is_against_the_other_responses(tmp_path, dataset, embedded_tokenizer):
    config = ResTConfig(weighting="signal", **settings(tmp_path))
    trainer = made(config, dataset, embedded_tokenizer)
    nan = torch.nan
    trainer._rewards = torch.tensor([1.0, 2.0, 3.0, 6.0, 4.0, nan, nan, 2.0])
    expected = [1 - 11 / 3, 2 - 10 / 3, 3 - 3, 6 - 2, 2, 0, 0, -2]
    assert trainer._target_credit().tolist() == pytest.approx(expected)


def follow_format(trainer):
    """Let it know of two batches, in which the format alone has a signal."""
    torch.manual_seed(0)
    sketches = torch.randn(R + 1, WIDTH)
    sketches[R] = sketches[Region.FORMAT]
    for _ in range(2):
        trainer.signal.add(sketches)


@pytest.mark.slow
def test_the_first_generations_are_grpo_bitwise(tmp_path, dataset, embedded_tokenizer):
    """Adam's v is there from the second generation on, and two batches before the fourth."""
    found = []
    for scheme in ("uniform", "signal"):
        trainer = made(
            ResTConfig(weighting=scheme, **settings(tmp_path)), dataset, embedded_tokenizer
        )
        trainer.train()
        found.append(parameters(trainer))
    assert trainer.signal is not None and trainer.signal.known().batches > 1.9
    assert torch.equal(*found)


@pytest.mark.slow
def test_a_resumed_run_is_a_straight_run_bitwise(tmp_path, dataset, embedded_tokenizer):
    options = settings(tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    straight = made(ResTConfig(weighting="signal", **options), dataset, embedded_tokenizer)
    follow_format(straight)
    straight.train()
    assert straight.state.log_history[0]["weight/format"] > 1.01
    resumed = made(ResTConfig(weighting="signal", **options), dataset, embedded_tokenizer)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.state.global_step == 2
    assert torch.equal(parameters(straight), parameters(resumed))
    assert straight.extra_state() == resumed.extra_state()
    assert resumed.signal is not None and resumed.signal.known().batches > 2.5


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"optim": "adafactor"}, "optim='adafactor'"),
        ({"loss_type": "luspo"}, "luspo"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, dataset, embedded_tokenizer, more, text):
    config = ResTConfig(weighting="signal", **settings(tmp_path, **more))
    with pytest.raises(InputError, match=text):
        made(config, dataset, embedded_tokenizer)


def test_responses_of_several_turns_are_refused(tmp_path, dataset, embedded_tokenizer):
    config = ResTConfig(weighting="signal", **settings(tmp_path))
    with pytest.raises(InputError, match="several turns"):
        made(config, dataset, embedded_tokenizer, environment="world")


@dataclass(frozen=True)
class Unmeasured(Scheme):
    """A scheme of a user's own that does not say how it is measured."""

    decay: float = 0.9
    reads_signal = True

    def weights(self, batch):
        return torch.ones(batch.regions.shape)


def test_a_scheme_of_one_s_own_says_how_it_is_measured(tmp_path, dataset, embedded_tokenizer):
    config = ResTConfig(weighting=Unmeasured(), **settings(tmp_path))
    with pytest.raises(InputError, match="Unmeasured has reads_signal and no field rows"):
        made(config, dataset, embedded_tokenizer)


@pytest.mark.slow
def test_an_optimiser_of_other_moments_is_refused(tmp_path, dataset, embedded_tokenizer):
    config = ResTConfig(weighting="signal", **settings(tmp_path))
    policy = load_policy(Recipe())
    trainer = ResTTrainer(
        model=policy,
        processing_class=embedded_tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        args=config,
        optimizers=(torch.optim.Adamax(policy.parameters()), None),
    )
    with pytest.raises(InputError, match="Adamax: it has no exp_avg_sq"):
        trainer.train()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["environment.source=world"], "use environment.train=steps"),
        (["engine.sharding=zero2", "engine.processes=2"], "use engine.sharding=ddp"),
        (["optimizer.name=adamw_8bit"], "moments in 8 bits"),
    ],
)
def test_recipes_that_cannot_measure_it_are_refused_first(tmp_path, overrides, text):
    recipe = load_recipe(None, ["weighting.scheme=signal", *overrides])
    with pytest.raises(InputError, match=text):
        TrlEngine().check(recipe, RunFolder(tmp_path))
