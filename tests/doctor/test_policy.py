import json
import shutil

import pytest

from toolrest.doctor import policy
from toolrest.doctor.check import Status
from toolrest.errors import InputError
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded policy."""
    return shutil.copytree(policy_path(Recipe()), tmp_path / "policy")


def test_a_whole_folder_and_the_embedded_policy(folder):
    for recipe in (Recipe(), Recipe(policy=str(folder))):
        assert policy.check_files(recipe)[0].status is Status.OK
        assert policy.check_tokenizer(recipe)[1][0].found.endswith("1,536 tokens")


def test_a_torn_config(folder):
    (folder / "config.json").write_text('{"model_type": "qwen')
    with pytest.raises(InputError, match=r"config.json: cannot be read.*copy the file"):
        policy.check_files(Recipe(policy=str(folder)))


def test_torn_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (check,) = policy.check_files(Recipe(policy=str(folder)))
    assert check.status is Status.PROBLEM and "model.safetensors is torn" in check.found


def test_a_missing_shard(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (check,) = policy.check_files(Recipe(policy=str(folder)))
    assert check.status is Status.PROBLEM and check.found.count("model-2.safetensors") == 1


@pytest.mark.parametrize(
    ("cached", "why", "status"),
    [
        (True, "no network", Status.OK),
        (False, None, Status.OK),
        (False, "no network", Status.PROBLEM),
    ],
)
def test_a_policy_on_the_hub(monkeypatch, cached, why, status):
    monkeypatch.setattr(policy, "is_cached", lambda name: cached)
    mend = "download it by hf download Qwen/Qwen3-0.6B"
    monkeypatch.setattr(policy, "why_absent", lambda name: None if why is None else (why, mend))
    (check,) = policy.check_files(Recipe(policy="Qwen/Qwen3-0.6B"))
    assert check.status is status
    assert ("hf download Qwen/Qwen3-0.6B" in check.mend) == (status is Status.PROBLEM)
