"""Runs of a few rows by the commands themselves."""

import json
import shutil

from typer.testing import CliRunner

from toolrest.cli.main import app

FEW = (
    *("rollout.prompts_per_step=2", "rollout.group_size=2", "rollout.max_response_tokens=24"),
    *("evaluation.samples=2", "data.heldout_fraction=0.25", "save_steps=1"),
)


def toolrest(*arguments):
    """What a command writes, at the end of its work."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, f"{arguments}\n{done.output}"
    return done.output


def rows(path, count=12):
    """Calls of one tool as chat messages."""
    tool = {
        "type": "function",
        "function": {
            "name": "get_news",
            "description": "News of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "page": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
    with path.open("w") as out:
        for number in range(count):
            call = {"name": "get_news", "arguments": {"city": f"City {number}", "page": number}}
            messages = [
                {"role": "system", "content": "You look up news."},
                {"role": "user", "content": f"What is new in City {number}, page {number}?"},
                {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
            ]
            out.write(json.dumps({"messages": messages, "tools": [tool]}) + "\n")
    return path


def questions(folder):
    """One of API-Bank's items for each of its levels."""
    folder.mkdir()
    tools = (
        "You can use the following tools:\n1. Name: get_news\nDescription: News of a city.\n"
        'Parameters: {"city": {"type": "string"}}\n'
    )
    answer = {"name": "get_news", "parameters": {"city": "Rome"}}
    row = {"system": tools, "user": "What is new?", "answer": answer}
    for level in (1, 2, 3):
        (folder / f"level-{level}-api_processed.json").write_text(json.dumps([row]))


def metrics(run):
    """What a run wrote of its steps, but for their times."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "step_time")
    return [{key: value for key, value in step.items() if key not in timed} for step in steps]


def stopped_after_a_step(run):
    """The run as it is where its process was killed in the second step."""
    shutil.rmtree(run / "checkpoints" / "checkpoint-2")
    (run / "summary.json").unlink()
    for path in run.glob("evaluation/after.*"):
        path.unlink()
