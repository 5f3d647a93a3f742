"""Real OpenEnv servers on loopback: the one that `openenv init` writes, and one of MCP tools.

scripts/add_tools.sh installs the package into a folder of its own; TOOLREST_OPENENV names another
site-packages that has it.
"""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app as command
from toolrest.core.dialects import ToolCall
from toolrest.environments.base import EnvironmentFailure
from toolrest.environments.host import Host, Limits
from toolrest.errors import InputError

SOURCES = Path(__file__).parent / "sources"
LIMITS = Limits(call_timeout=30)
ADDED = sysconfig.get_path("purelib", vars={"base": str(Path(sys.prefix) / "openenv")})
ELSEWHERE = os.environ.get("TOOLREST_OPENENV", ADDED)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def package():
    """The package openenv, or the tests are skipped."""
    before = list(sys.path)
    sys.path.append(ELSEWHERE)
    if find_spec("openenv") is None:
        pytest.skip("the package openenv is missing: pip install 'toolrest[openenv]'")
    yield
    sys.path[:] = before


def surroundings():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


@pytest.fixture
def serve():
    """Start servers that end with the test."""
    started = []

    def start(folder: Path, app: str) -> tuple[str, subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(port)]
        server = subprocess.Popen(
            command, cwd=folder, env=surroundings(), stderr=subprocess.PIPE, text=True
        )
        started.append(server)
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 180
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{address}/schema", timeout=5).close()
                return address, server
            except OSError:
                assert server.poll() is None, server.stderr.read()
                time.sleep(0.2)
        raise AssertionError("the server does not start")

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.fixture(scope="module")
def written(package, made_once):
    """What `openenv init` writes."""
    code = "from openenv.cli.__main__ import main; import sys; sys.argv[0] = 'openenv'; main()"

    def make(folder):
        made = subprocess.run(
            [sys.executable, "-c", code, "init", "my_env", "-o", str(folder)],
            env=surroundings(),
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stderr

    return made_once("openenv", make) / "my_env"


def test_what_openenv_init_writes_plays(serve, written):
    address, _ = serve(written, "server.app:app")
    with Host(address, LIMITS) as host:
        [episode] = host.start([({"prompt": "Say something."}, 0)])
        assert episode.failure is None, episode.failure
        [tool] = episode.start.tools
        assert tool["function"]["name"] == "my"
        assert tool["function"]["parameters"]["required"] == ["message"]
        assert set(tool["function"]["parameters"]["properties"]) == {"message"}
        text = episode.start.messages[0]["content"]
        assert text.startswith("Say something.\n{") and "ready!" in text
        step = episode.call([ToolCall("my", {"message": "Hello"})]).result()
        assert (step.reward, step.done, step.errors) == (0.5, False, 0)
        assert '"echoed_message": "Hello"' in step.results[0][1]
        wrong = episode.call([ToolCall("my", {"mesage": 1}), ToolCall("x", {})]).result()
        assert wrong.errors == 2 and wrong.results[0][1].startswith("error: my: ")
        assert wrong.results[1][1] == "error: there is no tool x; tools: my"
        again = episode.call([ToolCall("my", {"message": "Hello, world"})]).result()
        assert again.reward == 1.0


def test_a_server_that_takes_one_session_plays_in_waves_and_says_how_to_have_more(serve, written):
    address, _ = serve(written, "server.app:app")
    with Host(address, LIMITS) as host:
        episodes = host.start([({"prompt": "Go."}, 0), ({"prompt": "Go."}, 1)])
        [failure] = [each.failure for each in episodes if each.failure]
        assert "takes 1 at once" in failure and "max_concurrent_envs" in failure
        for each in episodes:
            each.close().result()
        rewards = {}
        for wave in host.waves([({"prompt": "Go."}, seed) for seed in range(3)]):
            assert len(wave) == 1
            [(at, episode)] = wave
            assert episode.failure is None and at not in rewards, episode.failure
            step = episode.call([ToolCall("my", {"message": "x" * (at + 1)})]).result()
            rewards[at] = round(step.reward, 3)
            episode.close().result()
        assert rewards == {0: 0.1, 1: 0.2, 2: 0.3}  # which comes first, the server decides


def test_a_server_of_mcp_tools_plays_and_a_lost_one_fails(serve):
    address, server = serve(SOURCES, "openenv_bank:app")
    with Host(address, LIMITS) as host:
        first, second = host.start([({"prompt": "Pay."}, 0), ({"prompt": "Pay."}, 1)])
        assert first.failure is None, first.failure
        assert first.start.messages == ({"role": "user", "content": "Pay."},)
        names = {each["function"]["name"] for each in first.start.tools}
        assert names == {"pay", "look"}
        step = first.call([ToolCall("pay", {"amount": 4}), ToolCall("look", {})]).result()
        assert step.results == (("pay", "paid 4"), ("look", '{"paid": 4}'))
        assert step.reward == pytest.approx(0.8) and not step.done
        assert second.call([ToolCall("look", {})]).result().results == (("look", '{"paid": 0}'),)
        wrong = first.call([ToolCall("pay", {"amount": 1000})]).result()
        assert wrong.errors == 1 and "does not hold" in wrong.results[0][1]
        last = first.call([ToolCall("pay", {"amount": 6}), ToolCall("look", {})]).result()
        assert last.done and last.results[1] == ("look", "error: the episode is over")
        server.kill()
        server.wait()
        with pytest.raises(EnvironmentFailure, match="call failed: "):
            second.call([ToolCall("look", {})]).result()
    with pytest.raises(InputError, match="no OpenEnv server answers"):
        Host(address, LIMITS)


def test_what_openenv_init_writes_trains_for_three_steps(serve, written, tmp_path, monkeypatch):
    """As it is written, from a recipe's source alone: nothing is in between."""
    monkeypatch.chdir(tmp_path)
    address, _ = serve(written, "server.app:app")
    sizes = ["rollout.prompts_per_step=2", "rollout.group_size=2", "rollout.max_response_tokens=48"]
    few = ["environment.max_turns=2", "max_steps=3", "evaluation.samples=2", "name=run"]
    words = ["train", f"environment.source={address}", *sizes, *few, "--quiet"]
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 0, found.output
    steps = [json.loads(line) for line in Path("runs/run/metrics.jsonl").read_text().splitlines()]
    assert [step["ending/failed"] for step in steps] == [0.0] * 3
    assert all("reward" in step for step in steps)
    record = json.loads(Path("runs/run/rollouts/step-000003.jsonl").read_text().splitlines()[0])
    assert "My Env environment ready!" in record["prompt"]
    # two held-out rows, one sampled and one greedy episode each
    assert len(Path("runs/run/evaluation/after.jsonl").read_text().splitlines()) == 4
