"""`ResTTrainer` is given what `GRPOTrainer` is given, and holds what it holds."""

import inspect
import json
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import HfArgumentParser, TrainingArguments
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.base_config import _BaseConfig
from trl_settings import settings

from toolrest.core.regions import Region
from toolrest.core.weights import Rest, Scheme, Stare
from toolrest.engines.trl.config import chosen_scheme
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

ROWS = Dataset.from_list([{"prompt": "Which day is it?"}] * 4)


def lengths(completions, **columns):
    return [float(len(text)) for text in completions]


@pytest.fixture
def on_a_cpu(monkeypatch):
    """TRL's defaults are bfloat16 on a GPU, and are refused where there is none."""
    real = _BaseConfig.__post_init__

    def checked(config):
        config.use_cpu = True
        real(config)

    monkeypatch.setattr(_BaseConfig, "__post_init__", checked)


def named_policy():
    policy = load_policy(Recipe())
    policy.config._name_or_path = "someone/tiny"
    return policy


def test_the_parameters_are_those_of_grpo_in_their_order():
    theirs = inspect.signature(GRPOTrainer.__init__).parameters
    ours = inspect.signature(ResTTrainer.__init__).parameters
    assert list(ours) == [*theirs, "environment", "on_rollouts", "on_incident", "model_card"]
    for name, parameter in theirs.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default), name


@dataclass(frozen=True)
class Calls(Scheme):
    """A scheme of the user's own."""

    most: float = 2.0

    def weights(self, batch):
        return torch.where(batch.regions == Region.REASONING, 1.0, self.most)


def test_a_scheme_object_is_the_weighting_and_is_recorded(tmp_path):
    config = ResTConfig(weighting=Calls(most=3.0), **settings(tmp_path))
    assert chosen_scheme(config) == Calls(most=3.0)
    recorded = json.loads(config.to_json_string())["weighting"]
    assert recorded == "Calls(scaffolding=<Region.FORMAT: 1>, most=3.0)"
    named = ResTConfig(weighting="rest*stare", **settings(tmp_path))
    assert json.loads(named.to_json_string())["weighting"] == "rest*stare"
    assert chosen_scheme(named).schemes == (Rest(), Stare())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"weighting": Rest}, "neither a scheme's name nor a Scheme"),
        ({"weighting": Rest(), "weighting_options": {"w_max": 3.0}}, "set them there"),
        ({"weighting": "rest*star"}, "did you mean 'stare'"),
    ],
)
def test_a_weighting_that_is_none_is_refused(tmp_path, given, words):
    with pytest.raises(InputError, match=words):
        chosen_scheme(ResTConfig(**given, **settings(tmp_path)))


def test_on_a_command_line_the_weighting_is_a_name(tmp_path):
    words = ["--output_dir", str(tmp_path), "--use_cpu", "--bf16", "false", "--weighting", "a*b"]
    [config] = HfArgumentParser(ResTConfig).parse_args_into_dataclasses(words)
    assert config.weighting == "a*b"


def test_the_model_card_names_rest_and_its_paper(tmp_path, embedded_tokenizer):
    trainer = ResTTrainer(
        named_policy(),
        lengths,
        ResTConfig(**settings(tmp_path)),
        train_dataset=ROWS,
        processing_class=embedded_tokenizer,
    )
    trainer.create_model_card(model_name="mine")
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "ResT: Reshaping Token-Level Policy Gradients" in card
    assert "2509.21826" in card and "Zihan Lin" in card
    assert "DeepSeekMath" not in card
    assert f"name = './{Path(trainer.args.output_dir).name}'" in card
    assert {"trl", "rest"} <= set(trainer.model.model_tags)


def test_without_args_the_defaults_are_those_of_grpo(
    tmp_path, monkeypatch, embedded_tokenizer, on_a_cpu
):
    monkeypatch.chdir(tmp_path)
    given = {"train_dataset": ROWS, "processing_class": embedded_tokenizer}
    ours = ResTTrainer(named_policy(), lengths, **given)
    theirs = GRPOTrainer(named_policy(), lengths, **given)
    assert isinstance(ours.args, ResTConfig)
    assert ours.args.weighting == "rest"
    assert (ours.args.output_dir, theirs.args.output_dir) == ("tiny-ResT", "tiny-GRPO")
    differ = {
        field.name
        for field in fields(GRPOConfig)
        if getattr(ours.args, field.name) != getattr(theirs.args, field.name)
    }
    own = set() if torch.accelerator.is_available() else {"bf16"}
    assert differ == {"output_dir", "loss_type"} | own


def test_args_may_stand_third_as_in_grpo(tmp_path, embedded_tokenizer):
    config = ResTConfig(weighting="uniform", **settings(tmp_path))
    made = ResTTrainer(
        named_policy(), lengths, config, ROWS, None, processing_class=embedded_tokenizer
    )
    assert made.config is config
    assert made.args is config


@pytest.mark.parametrize("kind", [GRPOConfig, TrainingArguments])
def test_settings_that_name_no_weighting_are_refused(tmp_path, kind):
    config = kind(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    with pytest.raises(InputError, match=f"args is a {kind.__name__}, .* use ResTConfig"):
        ResTTrainer(named_policy(), lengths, config, ROWS)


def trainer(folder, tokenizer, **more):
    config = ResTConfig(**settings(folder, max_completion_length=8, max_steps=1, **more))
    return ResTTrainer(named_policy(), lengths, config, ROWS, processing_class=tokenizer)


def forward(made):
    ids = torch.arange(1, 9).view(1, 8)
    with made._record() as recording:
        logps, entropies, _ = made._get_per_token_logps_and_entropies(
            made.model, ids, torch.ones_like(ids), 4, compute_entropy=True
        )
    return logps, entropies, recording.scored


@pytest.mark.parametrize(
    "more", [{}, {"top_entropy_quantile": 0.5, "weighting": "uniform"}, {"num_iterations": 2}]
)
def test_without_an_entropy_bonus_entropies_keep_no_graph(tmp_path, embedded_tokenizer, more):
    made = trainer(tmp_path, embedded_tokenizer, **more)
    logps, entropies, scored = forward(made)
    assert logps.requires_grad
    assert entropies.grad_fn is None and not entropies.requires_grad
    assert scored.log_probs.grad_fn is None and scored.entropies.grad_fn is None
    assert torch.equal(scored.entropies, entropies)


@pytest.mark.parametrize(
    ("weighting", "options"), [("rest", {}), ("rest", {"rule": "collision"}), ("uniform", {})]
)
def test_an_entropy_bonus_has_its_gradient_and_what_is_recorded_has_none(
    tmp_path, embedded_tokenizer, weighting, options
):
    made = trainer(
        tmp_path,
        embedded_tokenizer,
        weighting=weighting,
        weighting_options=options,
        entropy_coef=0.1,
    )
    _, entropies, scored = forward(made)
    assert all(values is None or values.grad_fn is None for values in scored)
    assert (scored.collisions is None) == (options == {})
    entropies.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in made.model.parameters())


@pytest.mark.slow
def test_rewards_of_none_are_left_out_as_in_grpo(tmp_path, embedded_tokenizer):
    def none(completions, **columns):
        return [None] * len(completions)

    policies = []
    for kind, config in ((GRPOTrainer, GRPOConfig), (ResTTrainer, ResTConfig)):
        options = settings(tmp_path, max_completion_length=8, max_steps=1, loss_type="grpo")
        made = kind(
            named_policy(), none, config(**options), ROWS, processing_class=embedded_tokenizer
        )
        made.train()
        policies.append(made.model.state_dict())
    assert all(torch.equal(policies[0][name], value) for name, value in policies[1].items())


@pytest.mark.slow
def test_the_entropy_bonus_moves_the_policy(tmp_path, embedded_tokenizer):
    """All rewards are equal, so that only the bonus has a gradient."""

    def equal(completions, **columns):
        return [1.0] * len(completions)

    moved = []
    for coefficient in (0.0, 0.1):
        config = ResTConfig(
            **settings(tmp_path, max_completion_length=8, max_steps=1, entropy_coef=coefficient)
        )
        made = ResTTrainer(named_policy(), equal, config, ROWS, processing_class=embedded_tokenizer)
        made.train()
        moved.append(made.state.log_history[0]["grad_norm"])
    assert moved[0] == 0.0
    assert moved[1] > 0.0


def test_fewer_rows_than_a_generation_takes_are_refused(tmp_path, embedded_tokenizer):
    """TRL would make no batch of them, and end as if it had trained."""
    config = ResTConfig(**settings(tmp_path))
    needed = config.generation_batch_size // config.num_generations
    rows = Dataset.from_list([{"prompt": "Which day is it?"}] * (needed - 1))
    trainer = ResTTrainer(
        load_policy(Recipe()), lengths, config, rows, processing_class=embedded_tokenizer
    )
    with pytest.raises(InputError, match=f"a generation takes {needed} prompts"):
        trainer.train()
