"""What numbers come from is known by its bytes; what has changed is not taken in silence."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.errors import InputError, short_list
from toolrest.io.files import sha256_of
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import (
    UNKNOWN,
    changed_files,
    differences,
    file_origins,
    fingerprint,
    policy_fingerprint,
    read_origins,
)

POLICY = Path(toolrest.__file__).parent / "world" / "policy"
TINY = [
    *("max_steps=2", "save_steps=1", "rollout.prompts_per_step=1", "rollout.group_size=2"),
    *("rollout.max_response_tokens=8", "evaluation.samples=2", "data.heldout_fraction=0.4"),
    *(
        "dialect=hermes",
        "data.prompt=plain",
        "reward.schedule=constant",
        "weighting.scheme=uniform",
    ),
]


OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in OFFLINE:
        monkeypatch.setenv(name, "1")


@pytest.fixture
def policy(tmp_path):
    shutil.copytree(POLICY, tmp_path / "p")
    return tmp_path / "p"


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_every_byte_of_the_weights_counts(policy):
    first = fingerprint(policy)
    size = (policy / "model.safetensors").stat().st_size
    seen = {first}
    for at in (size // 3, size // 2 + 12_345, size - 1):
        flip(policy / "model.safetensors", at)
        seen.add(fingerprint(policy))
        flip(policy / "model.safetensors", at)
    assert len(seen) == 4 and fingerprint(policy) == first


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("chat_template.jinja", "special_tokens_map.json", "modeling_x.py", "merges.txt"),
        *("tokenizer.model", "additional_chat_templates/tool_use.jinja", "tekken.json"),
    ],
)
def test_every_file_that_is_loaded_counts(name, policy):
    before = fingerprint(policy)
    path = policy / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.is_file() else b"") + b" ")
    assert fingerprint(policy) != before


def test_what_is_never_loaded_does_not_count(policy):
    before = fingerprint(policy)
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (policy / name).write_bytes(b"x")
    (policy / "checkpoint-1").mkdir()
    (policy / "checkpoint-1" / "model.safetensors").write_bytes(b"x")
    assert fingerprint(policy) == before


def test_the_policy_below_adapters_counts(policy, tmp_path):
    """The base was overwritten with noise, and the old answers were taken."""
    adapters = tmp_path / "a"
    adapters.mkdir()
    (adapters / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(policy)})
    )
    (adapters / "adapter_model.safetensors").write_bytes(b"x")
    before = fingerprint(adapters)
    flip(policy / "model.safetensors")
    second = fingerprint(adapters)
    flip(policy / "tokenizer.json")
    assert len({before, second, fingerprint(adapters)}) == 3


def test_weights_in_folders_that_the_index_names_count(policy):
    (policy / "part").mkdir()
    (policy / "part" / "1.safetensors").write_bytes(b"x")
    index = {"weight_map": {"a": "part/1.safetensors"}}
    (policy / "model.safetensors.index.json").write_text(json.dumps(index))
    before = fingerprint(policy)
    (policy / "part" / "1.safetensors").write_bytes(b"y")
    assert fingerprint(policy) != before


def test_of_the_hub_the_commit_counts_or_is_not_known(tmp_path, monkeypatch):
    recipe = Recipe(policy="owner/name")
    assert policy_fingerprint(recipe) == UNKNOWN
    cached = tmp_path / "snapshots" / "0123abc" / "config.json"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(cached))
    assert policy_fingerprint(recipe) == "0123abc"
    assert file_origins(recipe) == {"policy owner/name: commit": "0123abc"}


def test_differences_name_what_has_changed():
    before = {"data a": "1", "data b": "2", "the rows": "3", "c": UNKNOWN}
    assert differences(before, before) == []
    assert differences(before, before | {"data a": "9", "the rows": "9"}) == ["data a has changed"]
    assert differences(before, before | {"data b": UNKNOWN, "c": "5"}) == []
    gone = differences(before, {"data a": "1", "the rows": "3", "c": "5", "d": "4"})
    assert gone == ["d is new", "data b is gone"]
    (rows,) = differences(before, before | {"the rows": "9"})
    assert rows.startswith("the rows have changed")
    assert short_list(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"


def write_rows(path, word="two"):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"say {word} {number}"},
                {"role": "assistant", "content": f"{word} {number}"},
            ]
        }
        for number in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def began(tmp_path_factory):
    """A folder, and what is in it where a run has evaluated before: policy, rows, reward, run."""
    place, kept = (tmp_path_factory.mktemp("began") / name for name in ("place", "kept"))
    shutil.copytree(POLICY, place / "p")
    write_rows(place / "rows.jsonl")
    (place / "r.py").write_text("def f(completions, **more):\n    return [0.0] * 2")
    words = [*TINY, f"policy={place / 'p'}", "data.path=rows.jsonl", "reward.function=r.py:f"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in OFFLINE:
            patch.setenv(name, "1")
        patch.setattr("toolrest.engines.trl.launch.train_with_trl", lambda *arguments: 0)
        done = CliRunner().invoke(app, ["train", *words, "name=a", "--quiet"])
    assert done.exit_code == 130, done.output
    shutil.copytree(place, kept)
    return place, kept


@pytest.fixture
def stopped(began, monkeypatch):
    """A run that has evaluated before, with one step of two done."""
    place, kept = began
    shutil.rmtree(place)
    shutil.copytree(kept, place)
    monkeypatch.chdir(place)
    return RunFolder(place / "runs" / "a")


@pytest.fixture
def its_policy(stopped):
    return stopped.path.parents[1] / "p"


TRUSTED = ("--trust-remote-code",)
"""The run's recipe names a reward function."""


def resume(run, *more, code=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolrest.engines.trl.launch.train_with_trl", lambda *arguments: 2)
        patch.setattr("toolrest.runs.folder.RunFolder.last_checkpoint", lambda self: None)
        done = CliRunner().invoke(
            app, ["train", "--resume", str(run.path), "--quiet", *TRUSTED, *more]
        )
    assert done.exit_code == code, done.output
    return done.output


def test_an_undisturbed_run_keeps_hashes_and_goes_on(stopped, its_policy):
    kept = read_origins(stopped.data)
    assert kept[f"data {Path('rows.jsonl').absolute()}"] == sha256_of(Path("rows.jsonl"))
    assert kept[f"policy {its_policy}: tokenizer.json"] == sha256_of(its_policy / "tokenizer.json")
    assert {"the chat template", "the rows", f"reward {Path('r.py').absolute()}:f"} <= kept.keys()
    resume(stopped)
    summary = json.loads(stopped.summary.read_text())
    assert summary["steps"] == 2 and "changed_data" not in summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda policy: write_rows(Path("rows.jsonl"), "three"), "/rows.jsonl has changed"),
        (
            lambda policy: Path("runs/a/recipe.yaml").write_text(
                Path("runs/a/recipe.yaml")
                .read_text()
                .replace("temperature: 1.0", "temperature: 2.0")
            ),
            "the recipe has changed",
        ),
        (lambda policy: flip(policy / "model.safetensors"), "model.safetensors has changed"),
        (
            lambda policy: (policy / "chat_template.jinja").write_text(
                (policy / "chat_template.jinja").read_text() + " "
            ),
            "chat_template.jinja has changed",
        ),
        (lambda policy: Path("r.py").write_text("f = print"), "/r.py:f has changed"),
        (lambda policy: (policy / "merges.txt").write_text(""), "merges.txt is new"),
    ],
)
def test_a_change_is_refused_by_name_or_accepted_and_kept(change, named, stopped, its_policy):
    change(its_policy)
    before = stopped.data.read_bytes()
    output = resume(stopped, code=2)
    assert named in output and "--accept-changed-data" in output
    assert output.count("\n") == 1 and stopped.data.read_bytes() == before
    resume(stopped, "--accept-changed-data")
    data = json.loads(stopped.data.read_text())
    assert any(named in what for what in data["changed"][0]["what"])
    assert json.loads(stopped.summary.read_text())["changed_data"]
    warned = [json.loads(line) for line in stopped.warnings.read_text().splitlines()]
    assert named in next(row["text"] for row in warned if row["name"] == "changed_data")


def test_other_wording_of_the_same_file_is_another_data_set(stopped, monkeypatch):
    """As where another toolrest words the rows otherwise."""
    real = toolrest.data.sources.iterate_samples

    def worded(*arguments, **options):
        for sample in real(*arguments, **options):
            yield sample.__class__(**{**sample.__dict__, "ground_truth": sample.ground_truth + "!"})

    monkeypatch.setattr("toolrest.engines.common.reading.iterate_samples", worded)
    monkeypatch.setenv("XDG_CACHE_HOME", str(stopped.path / "empty"))
    assert "the rows have changed" in resume(stopped, code=2)


def test_a_run_that_kept_no_hashes_goes_on_and_says_so(stopped):
    data = json.loads(stopped.data.read_text())
    del data["origins"]
    stopped.data.write_text(json.dumps(data))
    assert not read_origins(stopped.data)
    resume(stopped)
    assert read_origins(stopped.data)


def test_the_flag_is_for_runs_that_go_on():
    done = CliRunner().invoke(app, ["train", "--accept-changed-data", *TINY])
    assert done.exit_code == 2 and "goes with --resume" in done.output


@pytest.mark.parametrize("words", [["variance", "--run"], ["gain", "--run"], ["inspect"]])
def test_commands_that_go_back_to_a_run_see_a_change(words, stopped, its_policy):
    stopped.rollouts.mkdir(exist_ok=True)
    (stopped.rollouts / "step-000000.jsonl").write_text('{"response": "a"}\n')
    path = its_policy / "tokenizer_config.json"
    path.write_text(path.read_text() + " ")
    done = CliRunner().invoke(app, [*words, str(stopped.path)])
    assert done.exit_code == 2 and "tokenizer_config.json has changed" in done.output


def test_a_comparison_is_of_one_data_set(stopped, tmp_path):
    """Runs that are there are of other rows than those that would be added."""
    from toolrest.experiments.methods import read_methods
    from toolrest.experiments.plan import CompareFolder, make_plan
    from toolrest.experiments.sameness import check_unchanged, differing
    from toolrest.recipe import EMBEDDED

    recipe = load_recipe(stopped.recipe, [])
    assert recipe.policy != EMBEDDED
    folder = CompareFolder(tmp_path / "c")
    plan = make_plan(recipe, read_methods("grpo"), [0, 1], "grpo", 1)
    for seed in (0, 1):
        run = folder.run("grpo", seed)
        shutil.copytree(stopped.path, run.path)
        run.recipe.write_text(run.recipe.read_text().replace("\nseed: 0\n", f"\nseed: {seed}\n"))
        run.summary.write_text("{}")
    first = json.loads(stopped.data.read_text())
    now = file_origins(plan.recipe)
    for seed in (0, 1):
        folder.run("grpo", seed).data.write_text(json.dumps(first | {"origins": now}))
    check_unchanged(folder, plan)
    assert differing(folder, plan) == []
    name = next(each for each in now if each.startswith("data "))
    other = first | {"origins": now | {name: "0"}}
    folder.run("grpo", 1).data.write_text(json.dumps(other))
    assert f"{name} is not the same in grpo-seed0 and grpo-seed1" in differing(folder, plan)
    with pytest.raises(InputError, match=r"its run grpo-seed1 began, data .* has changed"):
        check_unchanged(folder, plan)


def test_changed_files_leave_the_weights_out(policy):
    recipe = Recipe(policy=str(policy))
    before = file_origins(recipe)
    flip(policy / "model.safetensors")
    assert changed_files(recipe, before) == []
