"""What a JSON schema says of a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.data.schema import admits, declared, items, required, target

ROOT = {
    "$defs": {
        "City": {"type": "string"},
        "Again": {"$ref": "#/$defs/City"},
        "Tree": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Tree"}]},
        "a/b~c": {"type": "boolean"},
    },
    "properties": {"n": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["a"], [1, True, [], {}, None]),
        ({"type": "integer"}, [1], ["1", 1.5, True, None]),
        ({"type": "number"}, [1, 1.5], ["1", True]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"type": "array"}, [[1]], ["[1]", {}]),
        ({"type": "object"}, [{}], ["{}", []]),
        ({"type": "null"}, [None], [0, "null"]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        ({"type": ["string", "integer"]}, ["a", 1], [None, 1.5]),
        ({"type": "str, optional"}, ["a"], [1, None]),
        ({"type": "Optional[str]"}, ["a", 1, None], []),
        ({"type": []}, ["a", None], []),
        ({"type": "string", "nullable": True}, ["a", None], [1]),
        ({"enum": ["a", 1]}, ["a", 1, "b"], [None]),
        ({"enum": ["a", None]}, ["a", None], []),
        ({"const": 5}, [5, "a"], [None]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["a", None], [1]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [None, 1.5]),
        ({"allOf": [{"type": ["string", "null"]}, {"enum": ["a"]}]}, ["a"], [1, None]),
        ({"type": "string", "anyOf": [{"type": "null"}, {}]}, ["a"], [None]),
        ({"$ref": "#/$defs/City"}, ["a"], [1, None]),
        ({"$ref": "#/$defs/Again"}, ["a"], [1, None]),
        ({"$ref": "#/$defs/Tree"}, [1], []),
        ({"$ref": "#/$defs/a~1b~0c"}, [True], [1]),
        ({"$ref": "#/properties/n"}, [1], ["a"]),
        ({"$ref": "#/$defs/none"}, ["a", 1, None], []),
        ({"$ref": "other.json"}, ["a", 1, None], []),
        ({"anyOf": [], "allOf": 5, "type": 7, "$ref": 3}, ["a", None], []),
        ({}, ["a", None], []),
        (True, ["a", None], []),
        (False, [], ["a", None]),
    ],
)
def test_what_a_schema_admits(schema, good, bad):
    assert [value for value in good if not admits(value, schema, ROOT)] == []
    assert [value for value in bad if admits(value, schema, ROOT)] == []


def test_references_that_double_take_no_time():
    many = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    assert admits("a", {"$ref": "#/$defs/d0"}, {"$defs": many})
    ring = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert admits(None, {"$ref": "#/$defs/a"}, ring)
    assert declared({"$ref": "#/$defs/a"}, ring, "x") == ([], False)
    assert required({"$ref": "#"}, {"$ref": "#", "required": ["a"]}) == ["a"]


def test_what_is_declared_in_options_and_behind_references():
    a, b, c = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    root = {
        "properties": {"a": a},
        "anyOf": [{"properties": {"a": b}, "required": ["a"]}, {"$ref": "#/$defs/more"}],
        "$defs": {"more": {"properties": {"c": c}}},
    }
    found, needed = declared(root, root, "a")
    assert sorted(map(str, found)) == sorted(map(str, (a, b))) and needed
    assert declared(root, root, "c") == ([c], False)
    assert declared(root, root, "d") == ([], False)


def test_what_must_be_there_whichever_option_is_taken():
    root = {
        "required": ["a", 5],
        "allOf": [{"required": ["b"]}],
        "anyOf": [{"required": ["c"]}],
        "$ref": "#/$defs/d",
        "$defs": {"d": {"required": ["d"]}},
    }
    assert sorted(required(root, root)) == ["a", "b", "d"]
    assert required(None, None) == required({"required": True}, {}) == []


def test_items_are_those_of_every_part():
    root = {"allOf": [{"items": {"type": "string"}}], "prefixItems": [{"type": "integer"}]}
    assert items(root, root) == [{"type": "integer"}, {"type": "string"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "anyOf", "allOf", "$ref", "properties", "items", "enum", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(value=JSON, schema=JSON)
def test_whatever_stands_there_is_answered(value, schema):
    assert admits(value, schema, schema) in (True, False)
    declared(schema, schema, "a")
    items(schema, schema)
    required(schema, schema)
    target("#/a/b", schema)
