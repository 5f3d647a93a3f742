"""Trainers that act in environments, for tests: the chains' policy, and few short steps."""

from pathlib import Path

from datasets import Dataset
from trl_settings import settings

from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import load_recipe
from toolrest.world.chains import chain_rows
from toolrest.world.tasks import Split

SOURCES = Path(__file__).parent / "environments" / "sources"
CHAINS = load_recipe(None, ["environment.source=world"])


def acting_settings(folder, **more):
    """Two steps of eight episodes of up to four turns."""
    base = {"max_steps": 2, "max_completion_length": 400, "max_turn_tokens": 96, "max_turns": 4}
    return settings(folder, **(base | more))


def chains(count=16):
    """Rows of the embedded chains."""
    prompt = [{"role": "user", "content": ""}]
    return Dataset.from_list([{"prompt": prompt, **row} for row in chain_rows(Split.TRAIN, count)])


def acting_trainer(folder, rows=None, environment="world", kind=ResTTrainer, given=None, **more):
    """A trainer; `more` are settings, `given` arguments of the trainer."""
    return kind(
        model=load_policy(CHAINS),
        processing_class=load_tokenizer(CHAINS),
        train_dataset=chains() if rows is None else rows,
        args=ResTConfig(**acting_settings(folder, **more)),
        environment=environment,
        **(given or {}),
    )


def act(folder, rows=None, environment="world", given=None, resume=None, **more):
    """(trainer after its training, the generations' batches)."""
    batches = []
    given = {"on_rollouts": batches.append} | (given or {})
    trainer = acting_trainer(folder, rows, environment, given=given, **more)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, batches


def parameters(trainer):
    """The policy's, by name."""
    return dict(trainer.model.state_dict())
