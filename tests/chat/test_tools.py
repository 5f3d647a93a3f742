"""The tools of a chat: what is read, what is refused, and what becomes a result's text."""

import json
import re
import time
from pathlib import Path

import pytest

from toolrest.chat.tools import FUNCTION, load_tools, result_of
from toolrest.chat.tools import SCHEMA as ONE_SCHEMA
from toolrest.core.dialects import ToolCall
from toolrest.errors import InputError

SCHEMA = {
    "name": "get_news",
    "description": "News of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PYTHON = '''
import json
from pathlib import Path
import time

def add(first: int, second: int = 2) -> int:
    """Adds.

    Args:
        first: A number.
        second: Another.
    """
    return first + second

def told(text: str) -> str:
    """Says it again.

    Args:
        text: What.
    """
    return text

def fails(what: str):
    """Fails.

    Args:
        what: How.
    """
    if what == "exit":
        raise SystemExit(3)
    if what == "sleep":
        while True:
            try:
                time.sleep(5)
            except Exception:
                pass
    if what == "object":
        return Path("/")
    raise LookupError(f"no {what}\\nmore")

def _hidden():
    pass
'''


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "tools.py"
    path.write_text(PYTHON)
    return load_tools(path)


@pytest.mark.parametrize(
    "value",
    [[SCHEMA], SCHEMA, {"type": "function", "function": SCHEMA}, [{"function": SCHEMA}]],
)
def test_schemas_in_any_form(tmp_path, value):
    (tmp_path / "tools.json").write_text(json.dumps(value))
    (found,) = load_tools(tmp_path / "tools.json").values()
    assert found.tool.name == "get_news" and found.function is None
    assert found.tool.parameters == SCHEMA["parameters"]
    assert result_of(ToolCall("get_news", {}), {"get_news": found}, 1) is None


def test_public_functions_of_the_file_are_tools(python):
    assert list(python) == ["add", "told", "fails"]
    properties = python["add"].tool.parameters["properties"]
    assert properties["first"] == {"type": "integer", "description": "A number."}
    assert python["add"].tool.parameters["required"] == ["first"]


def test_another_name_of_a_function_is_no_second_tool(tmp_path):
    path = tmp_path / "tools.py"
    path.write_text(PYTHON + "\nalias = add\n")
    assert list(load_tools(path)) == ["add", "told", "fails"]


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("add", {"first": 1}, "3"),
        ("told", {"text": "a\nb"}, "a\nb"),
        ("told", {"text": "__import__('os').abort()"}, "__import__('os').abort()"),
        ("add", {"third": 1}, "error: TypeError: add() got an unexpected keyword argument 'third'"),
        ("add", {"first": "a"}, "error: TypeError: "),
        ("fails", {"what": "news"}, "error: LookupError: "),
        ("fails", {"what": "exit"}, "error: SystemExit: 3"),
        ("fails", {"what": "object"}, "error: TypeError: "),
        ("nothing", {}, "error: there is no tool nothing; tools: add, told, fails"),
        ("add", {"self": 1, "": 2}, "error: TypeError: "),
    ],
)
def test_a_result_or_what_went_wrong_is_the_text(python, name, parameters, text):
    said = result_of(ToolCall(name, parameters), python, 5)
    assert said == text or (text.endswith(": ") and said.startswith(text) and "\n" not in said)


def test_a_function_that_takes_long_is_stopped(python):
    begun = time.monotonic()
    said = result_of(ToolCall("fails", {"what": "sleep"}), python, 0.2)
    assert said == "error: fails took over 0.2 s"
    assert time.monotonic() - begun < 3


def test_an_interrupt_is_none_of_the_function(tmp_path):
    (tmp_path / "tools.py").write_text('def stop():\n    """Stops."""\n    raise KeyboardInterrupt')
    tools = load_tools(tmp_path / "tools.py")
    with pytest.raises(KeyboardInterrupt):
        result_of(ToolCall("stop", {}), tools, 1)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.json", "[]", "it has no tools"),
        ("a.json", "[1]", "tool 0: no object"),
        ("a.json", '[{"name": ""}]', "tool 0: it has no name"),
        ("a.json", '[{"name": "a"}, {"name": "a"}]', "one name"),
        ("a.json", '[{"name": "a", "parameters": []}]', "no JSON schema"),
        ("a.json", '[{"name": "a", "description": 1}]', "description is no text"),
        ("a.py", "1 +", "cannot be run (SyntaxError"),
        ("a.py", "import sys; sys.exit(1)", "cannot be run (SystemExit"),
        ("a.py", "from json import loads", "it has no tools"),
        ("a.py", "def f(x: int): pass", "function f: it needs type hints"),
        ("a.py", 'def f(x):\n    """F.\n\n    Args:\n        x: X.\n    """', "type hints"),
        ("a.py", 'async def f():\n    """F."""', "it is async"),
        ("a.txt", "", "a .json file"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as refused:
        load_tools(tmp_path / name)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no such file"):
        load_tools(tmp_path / f"other-{name}")


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("t.txt", "", FUNCTION),
        ("t.txt", "", ONE_SCHEMA),
        ("t.json", "[]", ONE_SCHEMA),
        ("t.json", "[5]", ONE_SCHEMA),
        ("t.py", "", FUNCTION),
        ("t.py", "def f(x):\n    pass\n", FUNCTION),
        ("t.py", "def f(x: str):\n    'No argument is told.'\n", FUNCTION),
    ],
)
def test_an_error_shows_the_form_that_is_due(tmp_path, name, text, form):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        load_tools(tmp_path / name)
    assert form in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "text"), [("t.py", FUNCTION), ("t.json", f"[{ONE_SCHEMA}]")])
def test_the_form_that_an_error_shows_is_a_tool(tmp_path, name, text):
    (tmp_path / name).write_text(text + "\n")
    (found,) = load_tools(tmp_path / name).values()
    assert (found.tool.name, found.tool.description) == ("forecast", "The weather.")
    if name == "t.py":
        assert found.tool.parameters["required"] == ["city"]
        assert result_of(ToolCall("forecast", {"city": "Ghent"}), {"forecast": found}, 5) == "rain"


def test_the_function_of_the_docs_is_a_tool(tmp_path):
    docs = Path(__file__).parents[2] / "docs" / "use.md"
    (code,) = re.findall(r"```python\n(def forecast.*?)```", docs.read_text(), re.S)
    (tmp_path / "tools.py").write_text(code)
    tools = load_tools(tmp_path / "tools.py")
    assert set(tools["forecast"].tool.parameters["properties"]) == {"city", "days"}
    result = result_of(ToolCall("forecast", {"city": "Ghent", "days": 2}), tools, 5)
    assert json.loads(result) == {"city": "Ghent", "days": ["rain", "rain"]}
