"""Runs whose groups branch, and what does not go with them."""

import json
import shutil
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from jobs import make_job
from trl import GRPOConfig
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.core.forks import Families, fork_advantages
from toolrest.engines.trl.branch_checks import check_branches, check_forks
from toolrest.engines.trl.config import ResTConfig
from toolrest.engines.trl.job import TrlEngine
from toolrest.engines.trl.launch import train_with_trl
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.errors import InputError
from toolrest.policy.speech import read_speech
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.tasks import Split, make_samples

SMALL = (
    *("max_steps=2", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=4"),
    *("rollout.max_response_tokens=96", "rollout.branches=2", "advantage.credit=forks"),
    *("weighting.scheme=uniform", "rollout.saved_groups=2", "keep_checkpoints=null"),
)


def rows_of(run, step):
    path = run.rollouts / f"step-{step:06d}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, embedded_tokenizer):
    recipe = load_recipe(None, [*SMALL])
    job = make_job(
        recipe, tmp_path_factory.mktemp("run"), embedded_tokenizer, make_samples(Split.TRAIN, 8)
    )
    model = load_policy(recipe)
    train_with_trl(job, model, lambda _: None)
    return job, model


@pytest.mark.slow
def test_families_share_their_start_and_are_counted_once(trained):
    job, _ = trained
    metrics = [json.loads(line) for line in job.run.metrics.read_text().splitlines()]
    sampled = 0
    for step in (1, 2):
        rows = rows_of(job.run, step)
        shared = 0
        for row, each in enumerate(rows):
            trunk = rows[row - row % 2]
            assert each["fork"] == trunk["fork"]
            assert each["ids"][: each["fork"]] == trunk["ids"][: trunk["fork"]]
            if row % 2:
                shared += min(each["fork"], len(each["ids"]))
                if each["fork"] >= len(trunk["ids"]):
                    assert each["ids"] == trunk["ids"]
        told = metrics[step - 1]
        assert told["forks/shared_tokens"] == shared
        forked = [each["fork"] < len(each["ids"]) for each in rows[::2]]
        assert told["forks/forked"] == pytest.approx(sum(forked) / len(forked))
        sampled += sum(len(each["ids"]) for each in rows) - shared
        assert told["sampling/sampling_logp_difference/max"] < 1e-4
    assert sampled < metrics[-1]["num_tokens"]  # and the prompts


@pytest.mark.slow
def test_what_is_trained_on_is_credited_by_forks(tmp_path, embedded_tokenizer, monkeypatch):
    from toolrest.engines.trl import scoring

    seen = []

    def noted(rewards, families, width, **more):
        found = fork_advantages(rewards, families, width, **more)
        seen.append((rewards, families, found, more))
        return found

    monkeypatch.setattr(scoring, "fork_advantages", noted)
    recipe = load_recipe(None, [*SMALL, "max_steps=1", "advantage.scale=none"])
    job = make_job(recipe, tmp_path, embedded_tokenizer, make_samples(Split.TRAIN, 8))
    train_with_trl(job, load_policy(recipe), lambda _: None)
    [(rewards, families, found, more)] = seen
    rows = rows_of(job.run, 1)
    assert isinstance(families, Families) and more == {"scale": "none"}
    assert rewards.tolist() == pytest.approx([each["reward"]["total"] for each in rows])
    assert families.forks.tolist() == [each["fork"] for each in rows]
    for row, each in enumerate(rows):
        shown = found[row, : len(each["ids"])].tolist()
        assert each["advantages"] == pytest.approx(shown, abs=1e-4)
    assert any(len(set(each["advantages"])) == 2 for each in rows)


@pytest.mark.slow
def test_a_resumed_run_is_a_straight_run_bitwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", *SMALL, "evaluation.samples=0", "name=run", "--quiet"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    first = (tmp_path / "runs/run/checkpoints/checkpoint-2/model.safetensors").read_bytes()
    run = tmp_path / "runs/run"
    for name in ("summary.json", "report.html"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints/checkpoint-2")
    again = CliRunner().invoke(app, ["train", "--resume", str(run), "--quiet"])
    assert again.exit_code == 0, again.output
    assert (run / "checkpoints/checkpoint-2/model.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("advantage.credit=response",), "use advantage.credit=forks"),
        (("rollout.branches=1",), "give rollout.branches=2"),
        (("rollout.branches=3",), "rollout.group_size=6"),
        (("rollout.group_size=2",), "rollout.group_size=4"),
        (("engine=verl",), "use engine=trl"),
        (("environment.source=world",), "branch within one turn"),
        (("rollout.sampler=generate",), "leave rollout.sampler out"),
        (("engine.sharding=fsdp", "engine.processes=2"), "use engine.sharding=ddp"),
        (("advantage.discount=0.5",), "leave advantage.discount out"),
        (("weighting.scheme=signal",), "use another scheme"),
        (("method=sft",), "supervised learning samples nothing"),
    ],
)
def test_a_recipe_that_would_not_branch_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        load_recipe(None, [*SMALL, *words])


WHOLE = {"branches": 1, "credit": "response"}


def config(tmp_path, **more):
    given = {"num_generations": 4, "branches": 2, "credit": "forks"}
    return ResTConfig(str(tmp_path), **given | more)


@pytest.mark.parametrize(
    ("changed", "rollout", "acts", "said"),
    [
        ({"credit": "response"}, shared_prefix_rollout, False, "use both or neither"),
        ({"branches": 1}, shared_prefix_rollout, False, "use both or neither"),
        ({}, None, False, "give rollout_func="),
        ({}, shared_prefix_rollout, True, "within one turn"),
        (
            {"multi_objective_aggregation": "normalize_then_sum"},
            *(shared_prefix_rollout, False, "compares sums of rewards"),
        ),
        ({"credit_discount": 0.5}, shared_prefix_rollout, False, "leave it out"),
        ({"branches": 3}, shared_prefix_rollout, False, "is not two families of 3"),
        ({"repetition_penalty": 1.2}, shared_prefix_rollout, False, "repetition_penalty=1.2"),
        ({"generation_kwargs": {"top_h": 0.4}}, shared_prefix_rollout, False, "generation_kwargs"),
        ({"repetition_penalty": 1.2, **WHOLE}, shared_prefix_rollout, False, "leave repetition_"),
    ],
)
def test_settings_that_would_not_branch_are_refused(tmp_path, changed, rollout, acts, said):
    with pytest.raises(InputError, match=said):
        check_branches(config(tmp_path, **changed), rollout, acts)
    check_branches(config(tmp_path), shared_prefix_rollout, False)
    check_branches(config(tmp_path, **WHOLE), None, True)
    check_branches(config(tmp_path, repetition_penalty=1.2, **WHOLE), None, False)


def test_a_plain_trainer_is_told_what_the_sampler_would_ignore(tmp_path):
    args = GRPOConfig(str(tmp_path), repetition_penalty=1.2, bf16=False)
    with pytest.raises(InputError, match=r"^repetition_penalty=1\.2 with rollout_func"):
        shared_prefix_rollout(["a"], cast(Any, SimpleNamespace(args=args)))


def test_a_dialect_in_which_no_start_is_seen_is_refused():
    for name in ("rlla", "hermes", "llama3"):
        check_forks(get_dialect(name))
    with pytest.raises(InputError, match="branches with the dialect pythonic"):
        check_forks(get_dialect("pythonic"))


def test_the_rows_of_a_family_are_next_to_each_other():
    forks = torch.tensor([1, 1, 2, 2])
    found = fork_advantages(torch.tensor([1.0, 0.0, 1.0, 0.0]), Families(forks, 4, 2), 3)
    assert torch.equal(found[0, 1:], -found[1, 1:]) and torch.equal(found[2, 2:], -found[3, 2:])


def stub_trainer(model, tokenizer, prompts, **more):
    """What `shared_prefix_rollout` reads of a trainer whose groups of four have families of two."""
    dialect = get_dialect("rlla")
    speech = read_speech(tokenizer, dialect, model.generation_config)
    given = {
        "config": SimpleNamespace(branches=2),
        "args": SimpleNamespace(branches=2, repetition_penalty=1.0, generation_kwargs=None),
        "accelerator": SimpleNamespace(
            unwrap_model=lambda model: model, num_processes=1, process_index=0
        ),
        "num_generations": 4,
        "_tokenize_prompts": lambda _: (prompts, None, {}),
    }
    drawn = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None}
    return SimpleNamespace(
        model=model,
        dialect=dialect,
        speech=speech,
        vocabulary=speech.vocabulary,
        eos_token_ids=list(speech.stop_ids),
        max_completion_length=8,
        **given | drawn | more,
    )


def test_groups_of_equal_prompts_side_by_side_branch_each_by_itself(embedded_tokenizer):
    """Two rows of one prompt, and one of another: groups of 4, and not of 8 and 4."""
    prompts = [[5, 6, 7]] * 8 + [[8, 9, 10, 11]] * 4
    trainer = stub_trainer(load_policy(Recipe()).train(), embedded_tokenizer, prompts)
    found = shared_prefix_rollout(["a"] * 12, cast(Any, trainer))
    ids, forks = found["completion_ids"], found["forks"]
    assert len(ids) == len(forks) == 12
    for row in range(0, 12, 2):
        fork = forks[row]
        assert forks[row + 1] == fork and ids[row][:fork] == ids[row + 1][:fork]


@pytest.mark.slow
def test_forks_of_truncated_responses_are_counted_though_the_loss_leaves_them_out(
    tmp_path, embedded_tokenizer
):
    told = []
    for left_out in ("false", "true"):
        cut = ("rollout.max_response_tokens=44", f"optimizer.mask_truncated={left_out}")
        recipe = load_recipe(None, [*SMALL, "max_steps=1", *cut])
        folder = tmp_path / left_out
        folder.mkdir()
        job = make_job(recipe, folder, embedded_tokenizer, make_samples(Split.TRAIN, 8))
        train_with_trl(job, load_policy(recipe), lambda _: None)
        told.append(json.loads(job.run.metrics.read_text().splitlines()[0]))
    assert 0 < told[0]["completions/clipped_ratio"] < 1 and told[0]["forks/forked"] > 0
    for name in ("forks/forked", "forks/shared_tokens", "num_tokens"):
        assert told[0][name] == told[1][name], name


@pytest.mark.parametrize(
    ("dialect", "shares", "said"),
    [
        ("pythonic", True, "rollout.branches=2 with dialect=pythonic: .*credit=response"),
        ("rlla", False, "add rollout.sampler=shared_prefix"),
    ],
)
def test_a_policy_that_would_not_branch_is_refused_before_it_is_evaluated(
    tmp_path, embedded_tokenizer, monkeypatch, dialect, shares, said
):
    """The dialect may be the chat template's, and the sampler follows from the policy's device."""
    monkeypatch.setattr("toolrest.engines.trl.job.shares_prefix", lambda model, sampler: shares)
    recipe = load_recipe(None, [*SMALL]).model_copy(update={"dialect": dialect})
    asked = make_job(recipe, tmp_path, embedded_tokenizer, make_samples(Split.TRAIN, 8))
    evaluation: Any = None  # which would have been called
    with pytest.raises(InputError, match=said):
        TrlEngine().train(asked, evaluation)
