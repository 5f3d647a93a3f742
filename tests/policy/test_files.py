"""What a policy's folder may hold, field by field."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.policy.finite import check_finite_files
from toolrest.policy.folder import policy_path
from toolrest.policy.safe_folder import check_policy_folder
from toolrest.policy.template import lists_tools, usual_opening
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_config, load_generation_config, load_policy
from toolrest.recipe import Recipe
from toolrest.runs.origins import fingerprint


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(policy_path(Recipe()), tmp_path / "policy"))


def change(folder, name, **fields):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def recipe(folder):
    return Recipe(policy=str(folder))


REFUSED = [
    *(("attn_implementation", each) for each in ("owner/kernel", "evil", 3, ["sdpa"])),
    *(("attn_implementation", {"": "owner/kernel"}), ("_attn_implementation", "a/b")),
    *(("experts_implementation", "owner/kernel"), ("experts_implementation", "deepgemm")),
    ("text_config", {"attn_implementation": "owner/kernel"}),
    ("x", [{"y": {"_experts_implementation": "owner/kernel"}}]),
    *((name, {"quant_method": "fp8"}) for name in ("quantization_config", "compression_config")),
    *((name, {"x": "y"}) for name in ("kernel_config", "fusion_config", "distributed_config")),
    *((name, True) for name in ("use_kernels", "use_timm_backbone", "use_pretrained_backbone")),
    *(("backbone", "owner/repo"), ("gguf_file", "x.gguf"), ("transformers_weights", "a.bin")),
    *(("torch_dtype", each) for each in ("load", "float4", 3)),
    *(("dtype", "hub"), ("model_type", "evil"), ("model_type", "encoder-decoder")),
    *(("model_type", None), ("to_dict", "x"), ("sub_configs", {}), ("__class__", "x")),
    *(("num_hidden_layers", 10**9), ("rope_theta", float("nan")), ("x", [float("inf")])),
    *(("eos_token_id", [1, 10**30]), ("x_file", "/etc/passwd"), ("x_path", "/etc")),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_a_field_of_config_json_that_names_code_or_a_place_is_refused(key, value, folder):
    change(folder, "config.json", **{key: value})
    with pytest.raises(InputError, match=r"config\.json"):
        check_policy_folder(folder)


@pytest.mark.parametrize(
    ("written", "taken"),
    [("eager", "eager"), ("sdpa", "sdpa"), ("flash_attention_2", "sdpa"), (None, "sdpa")],
)
def test_how_a_policy_is_computed_is_ours_to_say(written, taken, folder):
    """The file's word for PyTorch's own attention counts; kernels of other packages are not its
    to choose.
    """
    change(folder, "config.json", attn_implementation=written, experts_implementation="grouped_mm")
    assert load_policy(recipe(folder)).config._attn_implementation == taken
    assert load_config(recipe(folder))._experts_implementation is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("tokenizer_class", each)
            for each in ("AutoModelForCausalLM", "pipeline", "RagTokenizer")
        ),
        *(("tokenizer_class", 3), ("tokenizer_class", "AutoTokenizer"), ("init_inputs", ["x"])),
        *((name, "/etc/passwd") for name in ("vocab_file", "tokenizer_file", "merges_file")),
        *(("mecab_kwargs", {"mecab_dic": "x"}), ("sudachi_kwargs", {"x": "y"})),
    ],
)
def test_a_field_of_the_tokenizer_that_names_code_or_a_place_is_refused(key, value, folder):
    change(folder, "tokenizer_config.json", **{key: value})
    with pytest.raises(InputError, match=r"tokenizer_config\.json"):
        load_tokenizer(recipe(folder))


def test_what_tokenizers_say_of_themselves_is_taken(folder):
    change(
        folder,
        "tokenizer_config.json",
        model_max_length=1000000000000000019884624838656,
        special_tokens_map_file="/etc/passwd",
        tokenizer_file="/nowhere/tokenizer.json",
        name_or_path="/etc",
    )
    load_tokenizer(recipe(folder))


_LOOPS = "{% for i in range(99999) %}" * 4 + "{% endfor %}" * 4
_COMPARES = (
    "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}"
)
"""One comparison in C without end, which no signal stops."""


@pytest.mark.parametrize(
    "template",
    [
        *(_LOOPS, _COMPARES, "{{ 10 ** (10 ** 8) }}", "{% set n = 10 ** 8 %}{{ 10 ** n }}"),
        "{% if tools %}" + _COMPARES + "{% endif %}x",
        "{% for m in messages if m.role == 'tool' %}" + _COMPARES + "{% endfor %}x",
        "{% if not add_generation_prompt %}" + _COMPARES + "{% endif %}x",
        "{% if enable_thinking is false %}" + _COMPARES + "{% endif %}x",
    ],
)
def test_a_template_without_end_is_refused(template, folder, monkeypatch):
    monkeypatch.setattr("toolrest.policy.tokenizer.TEMPLATE_SECONDS", 0.5)
    (folder / "chat_template.jinja").write_text(template)
    options = {"enable_thinking": False} if "enable_thinking" in template else {}
    asked = Recipe.model_validate({"policy": str(folder), "data": {"template_options": options}})
    with pytest.raises(InputError, match="chat template takes over"):
        load_tokenizer(asked)


def test_a_template_without_end_for_one_prompt_is_stopped(folder, monkeypatch):
    """What no word at the start shows is stopped where the prompt is written."""
    template = "{% if 'Oslo' in messages[0].content %}" + _LOOPS + "{% endif %}x"
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(recipe(folder))
    monkeypatch.setattr("toolrest.io.deadline.TEMPLATE_SECONDS", 0.2)
    assert render_chat(Prompt([{"role": "user", "content": "Rome"}], None), tokenizer)
    with pytest.raises(InputError, match="template takes over"):
        render_chat(Prompt([{"role": "user", "content": "Oslo"}], None), tokenizer)


def test_a_template_without_end_is_told_where_its_ways_are_looked_at(folder, monkeypatch):
    """It is not taken for one that refuses a message."""
    template = "{% if tools and 'trip' in tools | string %}" + _LOOPS + "{% endif %}x"
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(recipe(folder))
    monkeypatch.setattr("toolrest.io.deadline.TEMPLATE_SECONDS", 0.2)
    for look in (lists_tools, lambda each: usual_opening(each, get_dialect("hermes"))):
        with pytest.raises(InputError, match="template takes over"):
            look(tokenizer)


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "folder", "below"])
@pytest.mark.parametrize("spelling", ["absolute", "from the folder", "from here"])
@pytest.mark.parametrize(
    "field",
    [
        *("vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "added_tokens_file"),
        *("fast_tokenizer_files", "spm_file", "anything", "init_kwargs"),
    ],
)
def test_no_file_outside_is_named_by_a_tokenizer(field, spelling, kind, folder, monkeypatch):
    """By any key and spelling, before a library opens it."""
    outside = folder / "below" if kind == "below" else folder.parent / "outside"
    outside.mkdir()
    named = outside / "tokenizer.4.0.json"
    if kind == "fifo":
        os.mkfifo(named)
    else:
        named.write_text("{}")
    if kind == "link":
        (folder / "inner.json").symlink_to(named)
        named = folder / "inner.json"
    if kind == "folder" and field not in ("anything", "init_kwargs"):
        named = outside
    here = folder.parent if spelling == "from here" else Path("/")
    monkeypatch.chdir(here)
    said = {
        "absolute": str(named),
        "from the folder": os.path.relpath(named, folder),
        "from here": os.path.relpath(named, here),
    }[spelling]
    if field == "anything" and "/" not in said:
        said = "./" + said
    value = {"fast_tokenizer_files": [said], "init_kwargs": {"a": [{"vocab": said}]}}
    change(folder, "tokenizer_config.json", **{field: value.get(field, said)})
    with pytest.raises(InputError, match=r"no file that lies in|a place outside of"):
        check_policy_folder(folder)


@pytest.mark.parametrize("value", [0, True, "https://example.org/x.model", "az://x/y"])
@pytest.mark.parametrize("field", ["vocab", "merges", "vocab_file"])
def test_a_vocabulary_is_no_descriptor_or_address(field, value, folder):
    change(folder, "tokenizer_config.json", **{field: value})
    with pytest.raises(InputError, match=r"tokenizer_config\.json"):
        check_policy_folder(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.4.0.json"])
@pytest.mark.parametrize("field", ["vocab", "merges"])
def test_the_vocabulary_of_tokenizer_json_is_in_it(field, name, folder):
    found = json.loads((folder / "tokenizer.json").read_text())
    found["model"][field] = "/nowhere/vocab.json"
    (folder / name).write_text(json.dumps(found))
    with pytest.raises(InputError, match=field):
        check_policy_folder(folder)


@pytest.mark.parametrize("name", [".vocab.json", "vocab.md", "vocab.bin", "toolrest_state.json"])
def test_a_vocabulary_has_a_name_that_the_fingerprint_counts(name, folder):
    (folder / name).write_text("{}")
    change(folder, "tokenizer_config.json", vocab=str(folder / name))
    with pytest.raises(InputError, match=name):
        check_policy_folder(folder)


def test_a_vocabulary_that_lies_in_the_folder_is_taken(folder):
    """Its bytes are a part of the fingerprint."""
    (folder / "vocab.json").write_text("{}")
    change(folder, "tokenizer_config.json", vocab_file=str(folder / "vocab.json"), x="a/b")
    check_policy_folder(folder)
    before = fingerprint(folder)
    (folder / "vocab.json").write_text("{ }")
    assert fingerprint(folder) != before


def test_a_generation_config_says_tokens_and_sampling_alone(folder):
    change(
        folder,
        "generation_config.json",
        num_beams=4,
        penalty_alpha=0.6,
        cache_implementation="static",
        prompt_lookup_num_tokens=3,
        temperature=0.5,
    )
    found = load_policy(recipe(folder)).generation_config
    assert found.temperature == 0.5
    assert found.eos_token_id == load_generation_config(recipe(folder)).eos_token_id
    assert not found.num_beams and not found.cache_implementation and not found.penalty_alpha
    assert not found.prompt_lookup_num_tokens
    change(folder, "generation_config.json", custom_generate="owner/repo")
    with pytest.raises(InputError, match="custom_generate"):
        load_policy(recipe(folder))


@pytest.mark.parametrize("part", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", 3])
def test_parts_of_weights_lie_beside_their_index(part, folder):
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"index\.json"):
        load_policy(recipe(folder))


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin", "MODEL.CKPT"),
        *("a.pt", "b.pth", "c.pkl", "d.pickle", "e.joblib", "f.dill", ".metadata", "__0_0.distcp"),
        "consolidated.00.pth",
    ],
)
def test_pickles_are_refused_by_name(name, folder):
    """Beside weights as safetensors too: what is there may be read by the next version."""
    (folder / name).write_bytes(b"")
    for load in (load_policy, load_tokenizer, load_config, load_generation_config):
        with pytest.raises(InputError, match="pickled weights are not read"):
            load(recipe(folder))


def test_what_trainers_leave_is_not_in_the_way(folder):
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        (folder / name).write_bytes(b"")
    load_policy(recipe(folder))


def test_parts_of_distributed_checkpoints_and_inner_adapters_are_refused(folder):
    name = "shard-00000-model-00001-of-00001.safetensors"
    shutil.copy(folder / "model.safetensors", folder / name)
    with pytest.raises(InputError, match="distributed"):
        load_policy(recipe(folder))
    (folder / name).unlink()
    (folder / "x").mkdir()
    (folder / "x" / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="pickled"):
        load_policy(recipe(folder))


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "model.safetensors", "new"])
def test_a_fifo_in_a_policy_is_not_waited_for(name, folder):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    for load in (load_policy, load_tokenizer):
        with pytest.raises(
            InputError, match=r"neither a file nor a folder|no config\.json|no \.safetensors"
        ):
            load(recipe(folder))


@pytest.mark.parametrize(
    ("bad", "place"), [(float("nan"), 0), (float("inf"), 20), (-float("inf"), -1)]
)
def test_weights_that_are_not_finite_are_refused_by_name(bad, place, folder):
    """A policy of NaN was "ready" to doctor, and had 0.00 % in an evaluation."""
    weights = load_file(folder / "model.safetensors")
    name = list(weights)[place]
    weights[name].view(-1)[-1] = bad
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for look in (lambda: load_policy(recipe(folder)), lambda: check_finite_files(folder)):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            look()
    told = CliRunner().invoke(app, ["doctor", f"policy={folder}", "--no-self-test"])
    assert told.exit_code == 1 and "not finite" in told.stdout
    words = ["evaluate", str(folder), "--on", "world", "--limit", "1", "--max-tokens", "2"]
    assert "not finite" in CliRunner().invoke(app, words).stderr


def test_a_policy_that_computes_what_is_not_finite_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if "norm" in name:
            weights[name] = torch.full_like(value, 3e38)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="computes numbers that are not finite"):
        load_policy(recipe(folder))


@pytest.mark.slow
def test_doctor_trains_the_recipe_s_policy(folder):
    """The self-test trained the embedded policy, whatever the recipe named."""
    from toolrest.doctor.self_test import run_self_test

    checks = run_self_test(recipe(folder))
    assert str(folder) in checks[0].found and all(c.status.value == "ok" for c in checks), checks


def test_doctor_says_where_a_policy_is_too_large_to_be_trained(folder, monkeypatch):
    from toolrest.doctor import self_test

    monkeypatch.setattr(self_test, "_LARGEST", {"cpu": 1000, "cuda": 1000})
    settings, name, notes = self_test._settings(recipe(folder))
    assert "policy" not in settings and name == "the embedded policy"
    assert "MB of weights" in notes[0].found


@pytest.mark.parametrize("inside", [None, "notes", "Qwen3-0.6B-data/rows.jsonl"])
def test_a_folder_of_an_owner_s_name_hides_no_policy_of_the_hub(inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.policy.folder.is_cached", lambda name: False)
    (tmp_path / "Qwen").mkdir()
    if inside is not None:
        (tmp_path / "Qwen" / inside).parent.mkdir(exist_ok=True)
        (tmp_path / "Qwen" / inside).touch()
    assert policy_path(Recipe(policy="Qwen/Qwen3-0.6B")) == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json", "recipe.yaml"])
def test_beside_policies_a_name_is_a_mistyped_path_with_a_way_to_the_hub(
    file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen" / "Qwen3-1.7B").mkdir(parents=True)
    (tmp_path / "Qwen" / "Qwen3-1.7B" / file).touch()
    monkeypatch.setattr("toolrest.policy.folder.is_cached", lambda name: False)
    with pytest.raises(InputError, match=r"did you mean.*hf download Qwen/Qwen3-0.6B"):
        policy_path(Recipe(policy="Qwen/Qwen3-0.6B"))
    monkeypatch.setattr("toolrest.policy.folder.is_cached", lambda name: True)
    assert policy_path(Recipe(policy="Qwen/Qwen3-0.6B")) == "Qwen/Qwen3-0.6B"
