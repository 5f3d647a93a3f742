"""The example in docs/dialects.md works as it is printed."""

import re
from pathlib import Path

import pytest

from toolrest.core import dialects
from toolrest.core.dialects import Dialect, ParseStatus, ToolCall, get_dialect, register_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

DOCS = Path(__file__).parents[3] / "docs" / "dialects.md"


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(dialects, "_DIALECTS", dict(dialects._DIALECTS))


def test_the_printed_example(registered):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    exec(code, {"__name__": "example"})
    dialect = get_dialect("lines")
    calls = (ToolCall("f", {"a": [1, "x"]}), ToolCall("g", {}))
    reply = dialect.parse(dialect.render(thought=None, calls=calls, response="Yes."))
    assert (reply.calls, reply.response, reply.status) == (calls, "Yes.", ParseStatus.OK)
    assert [s.region for s in reply.spans].count(Region.NAME) == 2
    assert not dialect.parse("CALL f {").calls_intact


def test_a_name_is_not_taken_twice(registered):
    class Other(Dialect):
        name = "rlla"

        def scan(self, text):
            raise NotImplementedError

        def write(self, *, thought, calls, response):
            raise NotImplementedError

    with pytest.raises(InputError, match="there is a dialect rlla already"):
        register_dialect(Other())
