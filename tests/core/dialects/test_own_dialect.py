"""The example that docs/dialects.md includes is a whole dialect."""

import runpy
from pathlib import Path

import pytest

from toolrest.core import dialects
from toolrest.core.dialects import Dialect, ParseStatus, ToolCall, get_dialect, register_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_dialect.py"


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(dialects, "_DIALECTS", dict(dialects._DIALECTS))


def test_the_printed_example(registered):
    runpy.run_path(str(EXAMPLE))
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
