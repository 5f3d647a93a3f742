"""Training with shared prefixes against TRL's own forwards."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from replayed import Fixed, distance, trained
from trl import GRPOConfig, GRPOTrainer
from trl_settings import settings

from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples


@pytest.fixture(scope="module")
def dataset():
    samples = make_samples(Split.TRAIN, 24)
    return Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )


WHOLE = {}
SMALL = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
MINI = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
}
CASES = {
    "one forward": WHOLE,
    "groups cut by micro-batches": SMALL,
    "two mini-batches": MINI,
    "two iterations": {"num_iterations": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "checkpointing in parts": {"gradient_checkpointing": True, "micro_tokens": 300},
    "token means": {"loss_type": "bnpo"},
    "collision entropies": {"weighting": "gtpo"},
    "a scheme that reads tokens": {"weighting": "stare"},
    "kl": {"beta": 0.1},
    "adapters": {"lora": True},
    "truncated rows left out": {"mask_truncated_completions": True, "max_completion_length": 40},
}
LONG = ("one forward", "groups cut by micro-batches", "adapters")
"""Ten steps; the others differ from these in the loss or the order, and take four."""
IN_PARTS = {
    f"{loss}, {sharing}": {"loss_type": loss, "prefix_sharing": sharing}
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo")
    for sharing in (("on", "off") if loss == "grpo" else ("on",))
}


def compare_logs(said, also, but=()):
    """What is measured on all of a step's rows is the same."""
    for one, two in zip(said, also, strict=True):
        for key in one:
            if "time" not in key and "per_second" not in key and key not in but:
                nothing = 1e-4 if key.startswith("sampling/") else 1e-5  # rounding alone
                near = (
                    one[key] if one[key] is None else pytest.approx(one[key], rel=1e-3, abs=nothing)
                )
                assert two[key] == near, key


def some(names, quick):
    """Every name; those that are not in `quick` are slow tests."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize(
    "name",
    some(CASES, ()),
)
def test_sharing_gives_what_single_rows_give(tmp_path, dataset, embedded_tokenizer, name):
    case = {"max_steps": 10 if name in LONG else 4, **CASES[name]}
    parts = {"micro_tokens": case.pop("micro_tokens")} if "micro_tokens" in case else {}
    lora = LoraConfig(r=4, target_modules="all-linear") if case.pop("lora", False) else None
    rollout = Fixed()
    given = (tmp_path, dataset, embedded_tokenizer, rollout, lora)
    start, off, said = trained(*given, **case)
    rollout.replay()
    again, on, also = trained(*given, prefix_sharing="on", **parts, **case)
    assert torch.equal(start, again)
    assert distance(start, off, on) <= 1e-3
    # These are means over micro-batches of means over tokens.
    mixed = "gradient_accumulation_steps" in case
    compare_logs(
        said,
        also,
        ("entropy", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
        if mixed
        else (),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", some(IN_PARTS, ("grpo, on",)))
def test_parts_by_tokens_give_what_all_rows_give(tmp_path, dataset, embedded_tokenizer, name):
    rollout = Fixed()
    case = {**IN_PARTS[name], "max_steps": 2, "weighting": "uniform"}
    given = (tmp_path, dataset, embedded_tokenizer, rollout)
    start, whole, said = trained(*given, **case)
    cuts = (1, 300, 1_000_000) if name.startswith("grpo") else (300,)  # one way to cut for all
    for tokens in cuts:
        rollout.replay()
        _, parts, also = trained(*given, micro_tokens=tokens, **case)
        assert distance(start, whole, parts) <= 1e-3, tokens
        compare_logs(said, also)


def test_off_is_trl_bit_for_bit(tmp_path, dataset, embedded_tokenizer):
    rollout = Fixed()
    given = (tmp_path, dataset, embedded_tokenizer, rollout)
    case = {**SMALL, "weighting": "uniform"}
    _, ours, _ = trained(*given, prefix_sharing="off", **case)
    rollout.replay()
    own = ("weighting", "prefix_sharing")
    plain = GRPOTrainer(
        model=load_policy(Recipe()),
        processing_class=embedded_tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=dataset,
        rollout_func=rollout,
        args=GRPOConfig(
            loss_type="grpo",
            **settings(tmp_path, optim="sgd", learning_rate=0.05)
            | {k: v for k, v in case.items() if k not in own},
        ),
    )
    plain.train()
    theirs = torch.cat([p.detach().flatten() for p in plain.model.parameters()])
    assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_the_sampler_is_compared_with_the_policy_that_it_was(tmp_path, dataset, embedded_tokenizer):
    """Only in the first step on a generation's tokens; a sampler that draws from another
    distribution is seen.
    """

    class Warmer(Fixed):
        def __call__(self, prompts, trainer):
            before, trainer.temperature = trainer.temperature, 1.3
            made = shared_prefix_rollout(prompts, trainer)
            trainer.temperature = before
            return made

    name = "sampling/sampling_logp_difference"
    case = {"max_steps": 4, "num_iterations": 2, "learning_rate": 0.5}
    for rollout, apart in ((Fixed(), False), (Warmer(), True)):
        *_, said = trained(
            tmp_path, dataset, embedded_tokenizer, rollout, prefix_sharing="on", **case
        )
        found = [(row.get(f"{name}/mean"), row.get(f"{name}/max")) for row in said[:-1]]
        assert [mean is not None for mean, _ in found] == [True, False, True, False]
        for mean, greatest in (found[0], found[2]):
            assert 0 <= mean <= greatest
            assert (mean > 0.1) == apart, mean
            assert apart or greatest < 1e-3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lora": LoraConfig(r=2, lora_dropout=0.1)}, "dropout draws anew"),
        ({"torch_compile": True}, "torch_compile"),
        ({"prefix_sharing": "sometimes"}, "prefix_sharing"),
        ({"micro_tokens": 0}, "micro_tokens must be at least 1"),
        (
            {"micro_tokens": 9, "top_entropy_quantile": 0.5, "weighting": "uniform"},
            "ranks the tokens",
        ),
        ({"micro_tokens": 9, "entropy_coef": 0.1}, "the entropy bonus is a mean"),
    ],
)
def test_what_would_not_be_exact_is_refused(tmp_path, dataset, embedded_tokenizer, more, words):
    case = {"prefix_sharing": "on", **more}
    with pytest.raises(InputError, match=words):
        trained(tmp_path, dataset, embedded_tokenizer, None, **case)


def test_auto_shares_where_it_is_exact_and_says_where_not(
    tmp_path, dataset, embedded_tokenizer, caplog
):
    dropout = LoraConfig(r=2, lora_dropout=0.1, target_modules="all-linear")
    for lora, said in ((None, False), (dropout, True)):
        trained(
            tmp_path, dataset, embedded_tokenizer, None, lora, prefix_sharing="auto", max_steps=1
        )
        assert ("prefix_sharing=auto: off, since dropout" in caplog.text) == said
