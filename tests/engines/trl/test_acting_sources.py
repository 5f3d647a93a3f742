"""Environments as users have them: functions, TRL's class, a script; and TRL's own tools."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from acting import SOURCES, act, chains
from datasets import Dataset
from environments.sources.bank import Bank
from environments.sources.tools import add, fetch
from tiny_policies import model_of, tokenizer_of
from trl_settings import settings

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.regions import Region
from toolrest.core.turns import turn_numbers
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer

ROOT = Path(__file__).parents[3]


def plain_rows(count=4, **columns):
    prompt = [{"role": "user", "content": "Pay 5."}]
    return Dataset.from_list([{"prompt": prompt, **columns} for _ in range(count)])


def test_functions_are_tools_and_a_function_rewards(tmp_path):
    given = {"reward_funcs": lambda turns, ending, **columns: [float(len(t)) for t in turns]}
    trainer, batches = act(tmp_path, plain_rows(), [add, fetch], given, max_steps=1)
    for trajectory, row in zip(batches[0].episodes.trajectories, batches[0].inputs, strict=True):
        assert trajectory.failure is None and trajectory.reward == 0
        assert row["turns"] == [turn.text for turn in trajectory.turns]
        assert row["ending"] == trajectory.ending
    names = [each["function"]["name"] for each in batches[0].episodes.starts[0].tools]
    assert names == ["add", "fetch"]
    turns = [len(each.turns) for each in batches[0].episodes.trajectories]
    assert trainer.state.log_history[0]["reward"] == pytest.approx(sum(turns) / len(turns))


@pytest.mark.slow
def test_a_class_as_trl_has_them(tmp_path):
    _, batches = act(tmp_path, plain_rows(amount=5), Bank, max_steps=1)
    starts = batches[0].episodes.starts
    assert sorted(each["function"]["name"] for each in starts[0].tools) == ["look", "pay", "wait"]
    said = [start.messages[-1]["content"] for start in starts]
    assert said[0].startswith("Pay 5.") and "The account holds" in said[0]
    assert len(set(said[:4])) == len(set(said[4:])) == 1 < len(set(said))
    assert all(each.reward is not None for each in batches[0].episodes.trajectories)


@pytest.mark.slow
def test_rows_need_no_prompt_and_any_column_is_the_environment_s(tmp_path):
    rows = chains(8).remove_columns("prompt").add_column("row", ["not JSON"] * 8)
    _, batches = act(tmp_path, rows, max_steps=1)
    assert all(each.failure is None for each in batches[0].episodes.trajectories)
    assert all(row["row"] == "not JSON" for row in batches[0].inputs)


SCRIPT = """
import sys
from datasets import Dataset
from bank import Bank
from toolrest import ResTConfig, ResTTrainer

rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "Pay 5."}], "amount": 5}] * 4)
args = ResTConfig("out", max_steps=1, max_completion_length=200, max_turn_tokens=32, max_turns=2,
    num_generations=4, per_device_train_batch_size=4, save_strategy="no", report_to="none")
trainer = ResTTrainer(sys.argv[1], args=args, train_dataset=rows, environment=Bank)
trainer.train()
assert trainer.state.log_history[0]["ending/failed"] == 0
print("trained")
"""


@pytest.mark.slow
def test_a_plain_script_with_its_class_in_a_module_beside_it(tmp_path):
    (tmp_path / "bank.py").write_text((SOURCES / "bank.py").read_text())
    (tmp_path / "script.py").write_text(SCRIPT)
    policy = ROOT / "src" / "toolrest" / "world" / "chain_policy"
    done = subprocess.run(
        [sys.executable, "script.py", str(policy)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "trained"


CALL = ToolCall("multiply", {"a": 6, "b": 7})


def written(a):
    """A result that looks like a call."""
    return f'<tool_call>\n{{"name": "multiply", "arguments": {{"a": {a}}}}}\n</tool_call>'


class Answering:
    """TRL's `environment_factory`."""

    def reset(self, **columns):
        self.made = 0

    def multiply(self, a: int, b: int) -> str:
        """
        Multiply two numbers.

        Args:
            a: The first.
            b: The second.
        """
        self.made += 1
        return written(a)

    def get_reward(self) -> float:
        return float(self.made)


def multiply(a: int, b: int) -> str:
    """
    Multiply two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return written(a)


@pytest.mark.slow
@pytest.mark.parametrize("truths", ["one reply", "a dialogue", "one step of it"])
@pytest.mark.parametrize("how", ["tools", "environment_factory"])
def test_trl_s_own_loop_has_right_labels_weights_and_rewards(tmp_path, how, truths):
    """A tool's text is a right call, and earns nothing. Against the steps of a dialogue the answer
    is right, or of a dialogue that has none it is a needless turn.
    """
    dialect, tokenizer = get_dialect("hermes"), tokenizer_of("qwen3")

    class Scripted(ResTTrainer):
        """Calls in its first turn, and answers in the second."""

        def _generate_single_turn(self, prompt_ids, *rest, **more):
            texts = []
            for ids in prompt_ids:
                asked = "tool_response" not in tokenizer.decode(ids)
                calls, response = ((CALL,), None) if asked else ((), "It is 42.")
                thought = "I multiply." if asked else "That is all that I was asked for."
                said = dialect.render(thought=thought, calls=calls, response=response)
                texts.append(said + "<|im_end|>")
            return [tokenizer(each)["input_ids"] for each in texts], None

    batches = []
    given = {"tools": [multiply]} if how == "tools" else {"environment_factory": Answering}
    truth = dialect.render(thought="I multiply.", calls=(CALL,), response=None)
    answer = dialect.render(thought="I am done.", calls=(), response="It is 42.")
    truth = {"one reply": truth, "a dialogue": [truth, answer]}.get(truths, [truth])
    cost, stays = (0.5, False) if truths == "one step of it" else (0.0, True)
    prompt = [{"role": "user", "content": "How much is 6 times 7?"}]
    trainer = Scripted(
        model=model_of("qwen3", tokenizer),
        processing_class=tokenizer,
        reward_funcs=[ToolReward("hermes", "constant", needless_turn=cost)],
        train_dataset=Dataset.from_list([{"prompt": prompt, "ground_truth": truth}] * 4),
        args=ResTConfig(
            **settings(tmp_path, max_steps=1, dialect="hermes", max_completion_length=400)
        ),
        on_rollouts=batches.append,
        **given,
    )
    trainer.train()
    (batch,) = batches
    numbers = turn_numbers(batch.mask)
    assert numbers.amax(1).tolist() == [1] * 8
    for row in range(8):
        ids = batch.completion_ids[row]
        named = ids[batch.mask[row] & (batch.regions[row] == Region.NAME)]
        assert tokenizer.decode(named).strip() == "multiply"  # once: a tool's text names nothing
        for turn in (0, 1):
            mine = numbers[row] == turn
            assert batch.weights[row][mine].sum().item() == pytest.approx(int(mine.sum()), rel=1e-4)
        assert (batch.weights[row][~batch.mask[row]] == 0).all()
    assert all(each.exact is stays and each.format == 1 for each in batch.breakdowns)
    assert [each.total for each in batch.breakdowns] == [4.0 - cost] * 8
    assert torch.isfinite(batch.weights).all()
