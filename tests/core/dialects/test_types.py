"""What a text stands for by the type that a tool declares."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import json_values

from toolrest.core.dialects.types import declared, read_value


def read(text, own=None, **schema):
    """The value of the parameter `p` of the tool `f`, whose schema is `own`."""
    properties = {} if own is None else {"p": own}
    parameters = {"type": "object", "properties": properties} | schema
    return read_value(text, "f", "p", [{"name": "f", "parameters": parameters}])


def same(got, wanted):
    """True is not 1, and 1 is not 1.0."""
    return repr(got) == repr(wanted)


HUGE = "9" * 5000
VALUES = {
    "integer": {
        "12": 12, " 12\r\n": 12, "-0": 0, "12.0": 12.0, "1e5": 100000.0, "1.5": 1.5,
        "9" * 400: int("9" * 400), "None": None, "null": None, "True": True,
    },
    "number": {"12": 12, "1.5": 1.5, "1e-7": 1e-07, "1e5": 100000.0},
    "boolean": {
        "True": True, "true": True, "False": False, "false": False, " True\n": True, "1": 1,
        "None": None,
    },
    "null": {"None": None, "null": None, "\nnull\n": None},
    "array": {
        '["a", "12"]': ["a", "12"], "['a', True, None]": ["a", True, None], "[(1, 2)]": [[1, 2]],
        "[]": [], "['\\ud800']": ["\ud800"], "12": 12, '{"a": 1}': {"a": 1},
    },
    "object": {
        '{"a": {"b": [1]}}': {"a": {"b": [1]}}, "{'a': None, 'b': False}": {"a": None, "b": False},
        "{}": {}, '{"a": 1, "a": 2}': {"a": 2}, "[1]": [1],
    },
}  # fmt: skip
TEXTS = {
    "string": ("12", "True", "None", "null", "[1]", '"q"', " a\n", "", "1e5", HUGE),
    "integer": ("007", "1_000", "+1", "0x1", "abc", "", '"12"', "\u0661", HUGE),
    "number": (".5", "NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "-1e400"),
    "boolean": ("TRUE", "yes", ""),
    "null": ("", "none", "NULL"),
    "array": (
        *(
            "[1, 2",
            "(1, 2)",
            "[b'x']",
            "[{1, 2}]",
            "[...]",
            "[f(1)]",
            "a, b",
            "[1]\0",
            "['a\ud800']",
        ),
        *("[1e999]", "[NaN]", f"[{HUGE}]"),
    ),
    "object": ("{1: 2}", "{'a'}", "{'a': 1", "{**{'a': 1}}", '{"a": Infinity}', "{'a': 1e999}"),
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind in VALUES for text in VALUES[kind]]
)
def test_a_text_that_is_a_value(kind, text):
    assert same(read(text, {"type": kind}), VALUES[kind][text])


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in TEXTS for text in TEXTS[kind]])
def test_a_text_that_is_itself(kind, text):
    assert read(text, {"type": kind}) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("12", 12), ("1.5", 1.5), ("True", True), ("true", True), ("None", None), ("null", None)),
        *(("[1]", [1]), ('{"a": 1}', {"a": 1}), ('"12"', '"12"'), ("Oslo", "Oslo"), ("", "")),
        *(("['a']", "['a']"), ("007", "007"), ("NaN", "NaN"), ("1e400", "1e400"), (" 12 ", 12)),
    ],
)
def test_without_a_type_a_text_is_what_templates_write_so(text, value):
    schemas = (None, {}, {"description": "Any."}, {"type": "any"}, {"type": []}, True)
    assert all(same(read(text, own), value) for own in schemas)
    assert same(read_value(text, "f", "p", None), value)
    assert same(read_value(text, "f", "p", []), value)
    assert same(read_value(text, "other", "p", [{"name": "f"}]), value)


DEFINITIONS = {
    "Text": {"type": "string"},
    "a/b~c": {"type": "string"},
    "Cycle": {"$ref": "#/$defs/Back"},
    "Back": {"anyOf": [{"$ref": "#/$defs/Cycle"}, {"type": "string"}]},
}
ONLY_STRINGS = [
    {"type": "string"},
    {"type": ["string"]},
    {"type": "String"},
    {"type": "str"},
    {"type": "str, optional"},
    {"type": "string", "enum": ["1", 2]},
    {"enum": ["1", "2"]},
    {"const": "1"},
    {"$ref": "#/$defs/Text"},
    {"$ref": "#/$defs/a~1b~0c"},
    {"$ref": "#/$defs/Cycle"},
    {"allOf": [{"$ref": "#/$defs/Text"}], "description": "As pydantic writes it."},
    {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Back"}]},
    {"oneOf": [{"const": "a"}, {"const": "1"}]},
    {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Missing"}]},
]


@pytest.mark.parametrize("own", ONLY_STRINGS, ids=json.dumps)
def test_where_only_a_string_is_declared_the_text_is_the_value(own):
    for text in ("12", "None", "null", "[1]", "{'a': 1}", " 1 "):
        assert read(text, own, **{"$defs": DEFINITIONS}) == text


NULLABLE = [
    {"type": ["string", "null"]},
    {"type": "string", "nullable": True},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"anyOf": [{"$ref": "#/$defs/Text"}, {"const": None}]},
    {"enum": ["a", None]},
    {"type": "Optional[str]"},
    {"type": "str | None"},
    {"type": "Union[str, None]"},
]


@pytest.mark.parametrize("own", NULLABLE, ids=json.dumps)
def test_a_string_or_null(own):
    rows = {"None": None, "null": None, "12": "12", "[1]": "[1]", "True": "True", "": "", "x": "x"}
    got = {text: read(text, own, **{"$defs": DEFINITIONS}) for text in rows}
    assert got == rows


@pytest.mark.parametrize(
    ("own", "text", "value"),
    [
        ({"type": ["string", "integer"]}, "12", 12),
        ({"type": ["string", "integer"]}, "1.5", "1.5"),
        ({"type": ["string", "integer"]}, "[1]", "[1]"),
        ({"type": ["string", "number"]}, "12", 12),
        ({"type": ["string", "array"]}, "['a']", ["a"]),
        ({"type": ["string", "object"]}, "[1]", "[1]"),
        ({"type": ["string", "boolean"]}, "True", True),
        ({"enum": ["auto", 1, 2.5, True, [1], {"a": 1}]}, "2.5", 2.5),
        ({"enum": ["auto", 1]}, "true", "true"),
        ({"type": "List[int]"}, "(1)", "(1)"),
        ({"type": "List[Dict[str, int]]"}, "[{'a': 1}]", [{"a": 1}]),
        ({"type": "list(str)"}, "['a']", ["a"]),
        ({"type": "Tuple[float, float], optional"}, "[1.5, 2]", [1.5, 2]),
        ({"type": "dict"}, "{'a': 1}", {"a": 1}),
        ({"type": "Union[Dict[str, int], str]"}, "{'a': 1}", {"a": 1}),
        ({"type": "Union[Dict[str, int], str]"}, "12", "12"),
        ({"type": "int | str"}, "12", 12),
        ({"type": "Callable[[float], float]"}, "12", 12),
        ({"type": "float"}, "2", 2),
        ({"type": "bool"}, "False", False),
    ],
)
def test_several_types_and_types_by_python_names(own, text, value):
    assert same(read(text, own), value)


STRINGS = {"additionalProperties": {"type": "string"}}


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": {"p": {"type": "string"}}},
        {"$ref": "#/$defs/Own", "$defs": {"Own": {"properties": {"p": {"type": "string"}}}}},
        {"allOf": [{"properties": {"q": {"type": "null"}}}, {"properties": {"p": {"const": "1"}}}]},
        {"anyOf": [{"properties": {"p": {"type": "str"}}}, {"properties": {"p": {"enum": ["x"]}}}]},
        STRINGS,
        {"properties": {"q": {"type": "integer"}}, **STRINGS},
        {"patternProperties": {"^p": {"type": "string"}}},
        {"$ref": "#", "properties": {"p": {"type": "string"}}},
    ],
    ids=json.dumps,
)
def test_wherever_a_schema_speaks_of_the_parameter(parameters):
    assert read_value("12", "f", "p", [{"name": "f", "parameters": parameters}]) == "12"


def test_a_named_parameter_is_not_one_of_the_others():
    assert read("12", {"type": "integer"}, **STRINGS) == 12
    assert read("12", {}, **STRINGS) == 12


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "f", "parameters": ONLY_STRINGS[0] | STRINGS}}],
        [{"name": "f", "parameters": STRINGS}],
        ({"name": "f", "parameters": STRINGS},),
        [{"name": "g"}, {"name": "f", "parameters": {}}, {"name": "f", "parameters": STRINGS}],
        declared([{"name": "f", "parameters": STRINGS}]),
    ],
)
def test_the_forms_of_tools(tools):
    assert read_value("12", "f", "p", tools) == "12"
    assert read_value("12", "g", "p", tools) == 12
    assert declared(declared(tools)) == declared(tools)


ODD = (
    None,
    True,
    5,
    "text",
    [],
    {},
    [None],
    {"f": 1},
    [[{}]],
    {"p": None},
    ["string", 3, None, {}],
)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_wrong_kinds_say_nothing_and_never_raise(odd):
    own = [
        odd,
        *({key: odd} for key in ("type", "enum", "anyOf", "allOf", "oneOf", "$ref", "nullable")),
        {"anyOf": [odd, {"type": odd}], "const": odd},
    ]
    for each, text in product(own, ("x", "12", "[1]")):
        assert read(text, each) in (text, 12, [1])
    for key in ("properties", "additionalProperties", "patternProperties", "$defs", "$ref"):
        parameters = {key: odd}
        assert read_value("12", "f", "p", [{"name": "f", "parameters": parameters}]) in (12, "12")
    for tools in (
        odd,
        [odd],
        [{"name": odd}],
        [{"function": odd}],
        [{"name": "f", "parameters": odd}],
        [{"function": {"name": odd, "parameters": STRINGS}}],
    ):
        assert read_value("12", "f", "p", tools) == 12


@pytest.mark.parametrize(
    "reference",
    [
        "#/$defs/Me",
        "#",
        "#/",
        "",
        "/",
        "Me",
        "#/properties/p",
        "#/$defs",
        "#/$defs/Me/type",
        "https://x/y",
    ],
)
def test_references_that_lead_back_or_nowhere(reference):
    own = {"$ref": reference}
    assert read("12", own, **{"$defs": {"Me": own | {"anyOf": [own, own]}}}) == 12


def test_schemas_that_name_one_another_twice_each_are_read_once():
    """Reading every alternative of every alternative would take 2 ** 200 steps."""
    chain = {
        f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 1}"}]}
        for n in range(200)
    }
    chain["D200"] = {"oneOf": [{"$ref": "#/$defs/D0"}, {"type": "string"}]}
    assert read("12", {"$ref": "#/$defs/D0"}, **{"$defs": chain}) == "12"


def test_schemas_and_values_of_any_depth_and_length():
    """Neither the depth of a schema nor that of a text is the depth of Python's stack."""
    deep = {"type": "string"}
    for _ in range(50_000):
        deep = {"anyOf": [deep]}
    assert read("12", deep) == "12"
    for own, unit in product(
        ({"type": "array"}, {"type": "object"}, {"type": "integer"}, None),
        ("[", '{"a":', "{'a':", "(", "[1,", "['a',", "1+", "-", '"', "'", "\\", "[[]", "\n", "9"),
    ):
        text = unit * (300_000 // len(unit))
        for each in (text, f"[{text}", f"[{text}]", f"{{{text}}}"):
            value = read(each, own)
            assert value == each or isinstance(value, list | dict)
    many = json.dumps(list(range(100_000)))
    assert read(many, {"type": "array"}) == list(range(100_000))


def test_a_reply_with_many_values_reads_a_large_schema_once():
    """Looked through for every value, it would take 10 ** 9 steps."""
    parts = [{"type": "integer", "title": str(n)} for n in range(20_000)]
    tools = declared([{"name": "f", "parameters": {"properties": {"p": {"anyOf": parts}}}}])
    assert [read_value("12", "f", "p", tools) for _ in range(50_000)] == [12] * 50_000


TYPES = {
    **{type(None): "null", bool: "boolean", int: "integer", float: "number"},
    **{str: "string", list: "array", dict: "object"},
}


@given(json_values)
def test_a_value_is_read_back_by_its_type(value):
    text = value if isinstance(value, str) else json.dumps(value)
    own = {"type": TYPES[type(value)]}
    assert same(read(text, own), value)
    if not isinstance(value, str):
        assert same(read(text), value)
        if repr(value) not in ("nan", "inf"):
            assert same(read(repr(value), own), value)


_schema_words = st.sampled_from(
    [
        *("type", "enum", "const", "anyOf", "allOf", "oneOf", "$ref", "$defs", "nullable"),
        *("properties", "p", "additionalProperties", "patternProperties", "name", "function"),
        *("parameters", "f"),
    ]
)
_schema_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(("string", "integer", "array", "f", "#/$defs/p", "#", "Optional[int]", "[")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_schema_words, inner, max_size=3),
    max_leaves=12,
)


@given(tools=st.lists(_schema_values) | _schema_values, own=_schema_values, text=st.text())
def test_no_schema_and_no_text_raises(tools, own, text):
    for value in (read_value(text, "f", "p", tools), read(text, own)):
        assert value == text or not isinstance(value, str)
        json.dumps(value, allow_nan=False)
