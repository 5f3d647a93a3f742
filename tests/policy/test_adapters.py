"""Adapters are compared with what their base needs, merged by us, and refused by name otherwise."""

import json
import pickle
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from toolrest.errors import InputError
from toolrest.policy.adapters import merge_adapters, read_adapters
from toolrest.policy.folder import policy_path
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe

NAMES = ("q_proj", "down_proj")


class Tiny(torch.nn.Module):
    """A base of two linear layers, one of which gets adapters."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(2, 3, bias=False)
        self.b = torch.nn.Linear(3, 1, bias=False)


def write(folder, weights, **changed):
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["a"]} | changed
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def parts(name="a", a=(1, 2), b=(3, 1)):
    at = f"base_model.model.{name}"
    return {f"{at}.lora_A.weight": torch.ones(a), f"{at}.lora_B.weight": torch.ones(b)}


def merged(folder):
    model = Tiny()
    torch.nn.init.zeros_(model.a.weight)
    merge_adapters(model, read_adapters(folder))
    return model


def test_a_merge_worked_out_by_hand(tmp_path):
    """W + (alpha / r) B A with A = [1, 2], B = [1, 0, -1]', alpha 2, r 1."""
    weights = {
        "base_model.model.a.lora_A.weight": torch.tensor([[1.0, 2.0]]),
        "base_model.model.a.lora_B.weight": torch.tensor([[1.0], [0.0], [-1.0]]),
    }
    model = merged(write(tmp_path / "x", weights))
    assert model.a.weight.tolist() == [[2.0, 4.0], [0.0, 0.0], [-2.0, -4.0]]
    rank = {key: torch.cat([value] * 4, int("_B" in key)) for key, value in weights.items()}
    folder = write(tmp_path / "y", rank, r=4, lora_alpha=2, use_rslora=True)
    assert merged(folder).a.weight.tolist() == [[4.0, 8.0], [0.0, 0.0], [-4.0, -8.0]]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (parts("A"), "missing"),
        ({}, "missing"),
        (dict(list(parts().items())[:1]), "missing"),
        (parts() | parts("b", (1, 3), (1, 1)), "of no module"),
        (parts() | {"base_model.model.a.lora_magnitude_vector": torch.ones(3)}, "of no module"),
        (parts() | {"x\x1b[2J": torch.ones(3)}, "of no module"),
        (parts(a=(2, 2), b=(3, 2)), "its base needs"),
        (parts(a=(1, 3)), "its base needs"),
        ({key: value.to(torch.int8) for key, value in parts().items()}, "finite"),
        (parts() | {"base_model.model.a.lora_A.weight": torch.full((1, 2), torch.nan)}, "finite"),
        (parts() | {"base_model.model.a.lora_B.weight": torch.full((3, 1), torch.inf)}, "finite"),
    ],
)
def test_weights_that_are_not_those_of_the_base(weights, said, tmp_path):
    """Keys that no module has were left aside, and modules without keys got random matrices."""
    with pytest.raises(InputError, match=said):
        merged(write(tmp_path / "x", weights))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("peft_type", each) for each in ("IA3", "XLORA", "", None, 3, ["LORA"])),
        *(("init_lora_weights", each) for each in ("pissa", "olora", "eva", "corda", "loftq", 1.5)),
        *(("r", each) for each in (0, -1, True, "8", None, 1 << 40, 1.5)),
        *(("lora_alpha", each) for each in ("x", None, float("nan"), [1])),
        *(("target_modules", each) for each in ("a", ".*a", "all-linear", [], None, {"a": 1})),
        *(("target_modules", [each]) for each in ("(a+)+$", "a|b", "", 3, None, "a\n", "a" * 999)),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("rank_pattern", {"(a+)+$": 4}),
        ("alpha_pattern", {"a": 4}),
        ("layers_to_transform", [0]),
        ("layer_replication", [[0, 4]]),
        ("exclude_modules", "(a+)+$"),
        ("megatron_config", {"x": 1}),
        ("corda_config", {"cache_file": "x.pt"}),
        ("eva_config", {"rho": 2}),
        ("arrow_config", {"x": 1}),
        ("alora_invocation_tokens", [1]),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["a"]),
        ("a field of tomorrow", {"path": "x"}),
    ],
)
def test_what_is_more_than_plain_lora_is_refused(key, value, tmp_path):
    folder = write(tmp_path / "x", parts(), **{key: value})
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        merged(folder)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda v: st.lists(v) | st.dictionaries(st.text(), v),
            max_leaves=5,
        ),
    )
)
def test_any_fields_are_plain_lora_or_one_line(tmp_path_factory, fields):
    folder = write(tmp_path_factory.mktemp("x"), parts(), **fields)
    try:
        assert read_adapters(folder).targets
    except InputError as error:
        assert "\n" not in str(error)


@pytest.fixture
def adapters(tmp_path):
    """Adapters of the embedded policy, in a folder with its tokenizer."""
    folder = tmp_path / "adapters"
    base = Path(policy_path(Recipe()))
    weights = {}
    for name, module in load_policy(Recipe()).named_modules():
        if name.endswith(tuple(f".{each}" for each in NAMES)):
            outputs, inputs = module.weight.shape
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(2, inputs) / 50
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(outputs, 2) / 50
    write(folder, weights, r=2, target_modules=list(NAMES), base_model_name_or_path=str(base))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, folder / name)
    return folder


def test_a_policy_s_adapters_change_their_modules_alone(adapters):
    start, after = load_policy(Recipe()), load_policy(Recipe(policy=str(adapters)))
    weights = load_file(adapters / "adapter_model.safetensors")
    for name, value in after.state_dict().items():
        at = f"base_model.model.{name.removesuffix('.weight')}"
        before = start.state_dict()[name]
        if f"{at}.lora_A.weight" in weights:
            delta = weights[f"{at}.lora_B.weight"] @ weights[f"{at}.lora_A.weight"]
            assert torch.equal(value, before + delta * 1.0), name
        else:
            assert torch.equal(value, before), name


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
def test_the_merge_is_peft_s(adapters):
    from peft import PeftModel

    theirs = PeftModel.from_pretrained(load_policy(Recipe()), str(adapters)).merge_and_unload()
    ours = load_policy(Recipe(policy=str(adapters))).state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin", "x.PT", "a.pkl"])
@pytest.mark.parametrize("beside", ["adapter_model.safetensors", "x.safetensors"])
def test_no_pickle_is_read_whatever_lies_beside_it(name, beside, adapters, tmp_path):
    """A dummy `x.safetensors` beside `adapter_model.bin` had the pickle read."""
    (adapters / "adapter_model.safetensors").rename(adapters / beside)
    (adapters / name).write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="pickled weights are not read"):
        load_policy(Recipe(policy=str(adapters)))


def test_adapters_without_their_file_are_refused(adapters):
    (adapters / "adapter_model.safetensors").rename(adapters / "x.safetensors")
    with pytest.raises(InputError, match=r"without adapter_model\.safetensors"):
        load_policy(Recipe(policy=str(adapters)))


@pytest.mark.parametrize("base", ["attacker/repo", "../nowhere", "", None, 3, "a\x1b[2J", "/etc"])
def test_a_base_is_a_policy_that_is_here(base, adapters):
    """Nothing is fetched because an adapter's file names it."""
    path = adapters / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": base}))
    with pytest.raises(InputError):
        load_policy(Recipe(policy=str(adapters)))


def test_adapters_of_adapters_are_refused(adapters, tmp_path):
    config = json.loads((adapters / "adapter_config.json").read_text())
    second = Path(shutil.copytree(adapters, tmp_path / "second"))
    config["base_model_name_or_path"] = str(adapters)
    (second / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="adapters of adapters"):
        load_policy(Recipe(policy=str(second)))


@pytest.mark.parametrize("modules", [r".*\.(q|v)_proj", "(a+)+$", ["q_proj", "v.*"], "", [""]])
def test_a_recipe_names_modules_and_no_patterns(modules):
    """A pattern that backtracks was matched with every module's name, without end."""
    with pytest.raises(InputError, match=r"lora\.target_modules"):
        load_recipe(None, ["lora.rank=4", f"lora.target_modules={json.dumps(modules)}"])


def test_a_recipe_s_names_are_a_list(tmp_path):
    assert load_recipe(None, ["lora.target_modules=q_proj"]).lora.names == ["q_proj"]
    assert load_recipe(None, ["lora.target_modules=[q_proj, a.v_proj]"]).lora.names == [
        *("q_proj", "a.v_proj")
    ]
    assert load_recipe(None, []).lora.names is None
