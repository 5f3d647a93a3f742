import pytest

from toolrest.errors import InputError
from toolrest.estimate import PUBLISHED, ModelShape, get_shape
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

PARAMETERS = {
    # the hub's count of the safetensors; less a head of 151,936 x h where the file holds it twice
    "Qwen/Qwen3-0.6B": 751_632_384 - 155_582_464,
    "Qwen/Qwen3-1.7B": 2_031_739_904 - 311_164_928,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
}
QWEN3_4B = {
    "model_type": "qwen3",
    "head_dim": 128,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
    "vocab_size": 151_936,
}


def test_every_published_shape_has_the_published_number_of_parameters():
    assert {name: shape.parameters for name, shape in PUBLISHED.items()} == PARAMETERS


def test_a_config_gives_the_shape():
    assert ModelShape.from_config(QWEN3_4B) == get_shape("Qwen/Qwen3-4B-Instruct-2507")


def test_the_embedded_policy_has_the_parameters_that_its_config_gives():
    model = load_policy(Recipe())
    shape = ModelShape.from_config(model.config.to_dict())
    assert shape.parameters == sum(p.numel() for p in model.parameters())


def test_keys_and_values_of_a_token():
    # 2 (key, value) x 2 bytes x 36 layers x 8 heads x 128
    assert get_shape("Qwen/Qwen3-4B-Instruct-2507").kv_bytes_per_token == 147_456


def test_adapters_of_rank_16_on_all_linear_layers():
    shape = get_shape("Qwen/Qwen3-4B-Instruct-2507")
    # 36 x 16 x (2 (2560 + 4096) + 2 (2560 + 1024) + 3 (2560 + 9728)); both counts are published
    assert shape.lora_parameters(16) == 33_030_144
    assert get_shape("Qwen/Qwen3-8B").lora_parameters(16) == 43_646_976
    assert shape.lora_parameters(16, ["q_proj"]) == 36 * 16 * (2560 + 4096)
    assert shape.lora_parameters(16, ["k_proj", "self_attn.v_proj"]) == 36 * 16 * 2 * (2560 + 1024)


@pytest.mark.parametrize(
    ("change", "part"),
    [({"model_type": "gpt2"}, "model_type='gpt2'"), ({"vocab_size": None}, "vocab_size")],
)
def test_a_config_that_is_not_known_is_an_input_error(change, part):
    config = {k: v for k, v in (QWEN3_4B | change).items() if v is not None}
    with pytest.raises(InputError, match=part):
        ModelShape.from_config(config)


def test_an_unknown_policy_is_told_its_neighbour():
    with pytest.raises(InputError, match="did you mean 'Qwen/Qwen3-8B'"):
        get_shape("Qwen/Qwen3-8")


MOE = {
    "model_type": "qwen3_moe",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 999,
    "moe_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 10,
    "tie_word_embeddings": True,
}


def test_experts_are_all_held_and_some_are_computed():
    """A layer: 8 x 8 + 2 x 8 x 4 + 8 x 8 of attention, and MLPs of 3 x 8 x 16."""
    shape = ModelShape.from_config(MOE)
    assert (shape.layer_matrices, shape.active_matrices) == (192 + 384, 192 + 2 * 384)
    layer = 192 + 4 * 384 + 2 * 8 + 4 * 8  # norms and router
    assert shape.parameters == 10 * 8 + 2 * layer + 8
    other = {"num_local_experts": 4, "intermediate_size": 16, "moe_intermediate_size": None}
    names = MOE | {"model_type": "gpt_oss", "num_experts": None} | other
    assert ModelShape.from_config(names).parameters == shape.parameters


def test_a_text_model_within_another():
    inner = {key: value for key, value in QWEN3_4B.items() if key != "model_type"}
    whole = {"model_type": "gemma3", "text_config": inner}
    assert ModelShape.from_config(whole).layers == QWEN3_4B["num_hidden_layers"]


@pytest.mark.parametrize(
    ("window", "packs"),
    [({}, False), ({"sliding_window": None}, True), ({"sliding_window": 9}, False)],
)
def test_a_mistral_that_says_nothing_of_its_window_has_one(window, packs):
    config = QWEN3_4B | {"model_type": "mistral"} | window
    assert ModelShape.from_config(config).packs is packs
