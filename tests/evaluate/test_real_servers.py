"""Real servers on a CPU, in an environment of their own: vLLM's and transformers' give the greedy
texts that transformers gives in this process, and what they refuse is said.
"""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

import toolrest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
EMBEDDED = Path(toolrest.__file__).parent / "world" / "policy"
SMOLLM2 = os.environ.get("TOOLREST_SMOLLM2")
ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": "127.0.0.1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT / "src"),
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
VLLM = ("-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", "--model")
TRANSFORMERS = ("-m", "transformers.cli.transformers", "serve", "--device", "cpu")
ITEMS = 8
TOKENS = 64
TOOLS = ("BookHotel", "FindFlight", "SendMail", "PlayMusic", "SetAlarm", "GetWeather")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.is_file(),
        reason="no environment with vLLM: scripts/make_vllm_venv.sh .venv-vllm makes it",
    ),
]
with_smollm2 = pytest.mark.skipif(
    SMOLLM2 is None,
    reason="TOOLREST_SMOLLM2 is not set: scripts/smollm2.py FOLDER makes the folder that it names",
)


@contextmanager
def serving(words, policy, folder):
    """The address of a server that has loaded a policy in float32."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    more = ("--dtype", "float32", "--host", "127.0.0.1", "--port", port)
    log = folder / "server.log"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [PYTHON, *words, policy, *more],
            env=ENVIRONMENT,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 300
        while not healthy(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def healthy(port):
    try:
        found = build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=5)
    except OSError:
        return False
    with found:
        return found.status == 200


def evaluated(folder, *words, code=0):
    """What the command prints."""
    command = [PYTHON, "-m", "toolrest", "evaluate", *words, "--max-tokens", str(TOKENS)]
    done = subprocess.run(
        [*command, "--out", folder], env=ENVIRONMENT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr


def texts(folder):
    rows = map(json.loads, (folder / "answers.jsonl").read_text().splitlines())
    return {row["key"].rsplit("/", 1)[0]: row["text"] for row in rows}


def world(folder):
    return "--limit", str(ITEMS)


def api_bank(folder):
    """Options for questions whose tools the prompt lists in plain words."""
    rows = [
        {
            "system": "S\nuse the following tools:\n"
            f"1. Name: {name}\nDescription: Does it.\nParameters: {{'what': {{'type': 'str'}}}}\n\n"
            "**Steps for Each Turn**",
            "user": f"**Dialogue Records History**\n<user> Please {name} number {n}. </user>",
            "answer": {"name": name, "parameters": {"what": str(n)}},
        }
        for n, name in enumerate(TOOLS)
    ]
    for level in (1, 2, 3):
        chosen = rows[2 * level - 2 : 2 * level]
        (folder / f"level-{level}-api_processed.json").write_text(json.dumps(chosen))
    return ("--on", "apibank", "--data", str(folder)), ("--dialect", "hermes", "--prompt", "plain")


def through_all(policy, questions, folder):
    """Greedy texts of hf, of vLLM here, and of both interfaces of vLLM's server."""
    evaluated(folder / "hf", policy, *questions)
    evaluated(folder / "vllm", policy, *questions, "--backend", "vllm")
    with serving(VLLM, policy, folder) as url:
        server = ("--backend", "openai", "--base-url", url)
        evaluated(folder / "chat", policy, *questions, *server)
        ids = ("--api", "completions", "--tokenizer", policy)
        evaluated(folder / "completions", policy, *questions, *server, *ids)
    return [texts(folder / name) for name in ("hf", "vllm", "chat", "completions")]


def test_hf_and_vllm_write_the_same_with_the_embedded_policy(tmp_path):
    hf, *others = through_all(str(EMBEDDED), ("--dialect", "rlla", *world(tmp_path)), tmp_path)
    assert len(hf) == ITEMS and any("<tool_call>" in text for text in hf.values())
    assert others == [hf] * 3


def test_vllm_writes_with_an_exported_policy_what_the_run_writes(tmp_path):
    few = ("max_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=4")
    for words in (
        ("train", "name=run", "optimizer.learning_rate=0.003", "evaluation.samples=2", *few),
        ("export", "runs/run", "--to", "out"),
    ):
        done = subprocess.run(
            [PYTHON, "-m", "toolrest", *words],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    evaluated(tmp_path / "run", str(tmp_path / "runs" / "run"), *world(tmp_path))
    found = through_all(str(tmp_path / "out"), ("--dialect", "rlla", *world(tmp_path)), tmp_path)
    assert found == [texts(tmp_path / "run")] * 4


@with_smollm2
def test_hf_vllm_and_transformers_write_the_same_with_a_pretrained_policy(tmp_path):
    benchmark, speech = api_bank(tmp_path)
    questions = (*benchmark, *speech)
    hf, *others = through_all(SMOLLM2, questions, tmp_path)
    assert len(hf) == len(TOOLS) and all(hf.values())
    with serving(TRANSFORMERS, SMOLLM2, tmp_path) as url:
        server = ("--backend", "openai", "--base-url", url)
        evaluated(tmp_path / "transformers", SMOLLM2, *questions, *server)
    assert [*others, texts(tmp_path / "transformers")] == [hf] * 4


@with_smollm2
def test_a_template_that_lists_no_tools_is_seen(tmp_path):
    benchmark, (*dialect, _, _) = api_bank(tmp_path)
    with serving(TRANSFORMERS, SMOLLM2, tmp_path) as url:
        server = ("--backend", "openai", "--base-url", url, "--prompt", "template")
        said = evaluated(tmp_path / "a", SMOLLM2, *benchmark, *dialect, *server)
    assert "drops the tools" in said
    found = json.loads((tmp_path / "a" / "result.json").read_text())["server"]
    assert found["tools"] == "dropped"


def test_what_transformers_server_cannot_do_is_said_soon(tmp_path):
    """Its parser fails at what the policy writes, a call that has only begun too, and its
    completions take no ids.
    """
    policy = str(EMBEDDED)
    with serving(TRANSFORMERS, policy, tmp_path) as url:
        server = (policy, "--limit", "2", "--backend", "openai", "--base-url", url)
        start = time.monotonic()
        said = evaluated(tmp_path / "chat", *server, code=2)
        assert "it answers 500 (Internal Server Error)" in said
        assert time.monotonic() - start < 60
        ids = ("--api", "completions", "--tokenizer", policy)
        said = evaluated(tmp_path / "completions", *server, *ids, code=2)
    assert "the server does not know skip_special_tokens, which is left out" in said
    assert "refused (prompt must be a string" in said
