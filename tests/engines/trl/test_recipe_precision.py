"""The recipe says in what is computed, whatever a configuration file of accelerate says."""

import pytest

from toolrest.engines.trl import processes
from toolrest.engines.trl.launch import trl_config
from toolrest.engines.trl.processes import accelerate_config, run_processes
from toolrest.engines.trl.settings import check_precision
from toolrest.errors import InputError
from toolrest.recipe import SHIPPED_SHARDING, Engine, Recipe
from toolrest.runs.folder import RunFolder


@pytest.mark.parametrize("sharding", SHIPPED_SHARDING)
def test_shipped_files_leave_the_precision_to_the_recipe(sharding, monkeypatch):
    from accelerate.commands.config.config_args import load_config_from_file

    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda package: True)
    config = load_config_from_file(str(accelerate_config(Engine(sharding=sharding))))
    assert config.mixed_precision == "no"


@pytest.mark.parametrize(
    ("precision", "said"),
    [("float32", ["no"]), ("bfloat16", ["bf16"]), ("auto", [])],
)
def test_the_launcher_is_told(precision, said, tmp_path, monkeypatch):
    class Process:
        pid, returncode = -1, 3

        def __init__(self, words, **options):
            started.append(words)

        def wait(self):
            pass

    started = []
    monkeypatch.setattr(processes.subprocess, "Popen", Process)
    monkeypatch.setattr(processes, "_children", lambda pid: [])
    engine = Engine(processes=2, precision=precision)
    assert run_processes(engine, RunFolder(tmp_path), quiet=True) == 3
    [words] = started
    places = [at + 1 for at, word in enumerate(words) if word == "--mixed_precision"]
    assert [words[at] for at in places] == said
    assert all(at < words.index("toolrest.cli.worker") for at in places)


@pytest.mark.parametrize(
    ("file", "precision", "computed"),
    [
        ("no", "float32", "no"),
        ("no", "bfloat16", "bf16"),
        ("bf16", "bfloat16", "bf16"),
        ("bf16", "float32", None),
        ("fp16", "float32", None),
    ],
)
def test_float32_is_float32_or_refused(file, precision, computed, tmp_path, monkeypatch):
    """Processes that a user's own launcher has started with a file of his own."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", file)
    recipe = Recipe(engine={"precision": precision})
    args = trl_config(recipe, tmp_path)
    if computed is None:
        with pytest.raises(InputError, match=rf"engine\.precision=float32, but .* says {file}"):
            check_precision(recipe, args)
        return
    check_precision(recipe, args)
    assert args.mixed_precision == computed


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_a_file_of_deepspeed_that_computes_in_16_bits_is_refused(kind, tmp_path):
    recipe = Recipe(engine={"precision": "float32"})
    args = trl_config(recipe, tmp_path)
    args.deepspeed_plugin = type("Plugin", (), {"deepspeed_config": {kind: {"enabled": True}}})
    with pytest.raises(InputError, match=f"says {kind}"):
        check_precision(recipe, args)
    args.deepspeed_plugin.deepspeed_config = {kind: {"enabled": "auto"}}
    check_precision(recipe, args)
