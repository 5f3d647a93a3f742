"""The faults that mutation testing writes: each kind by hand, and that each can be made."""

import ast
from pathlib import Path

import pytest
from mutants import mutants, mutated

import toolrest

SOURCE = Path(toolrest.__file__).parent


def faults(source: str) -> list[str]:
    """The module's last statement with each of its faults in turn."""
    found = [mutated(source, mutant.number) for mutant in mutants(source)]
    return [ast.unparse(tree.body[-1]).replace("\n    ", " ") for tree in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a == b", ["x = a != b"]),
        ("x = a - b", ["x = a + b"]),
        ("x = a and b", ["x = a or b", "x = b", "x = a"]),
        ("x = not a", ["x = a"]),
        ("x = 3", ["x = 4", "x = 2"]),
        ("x = 0.5", ["x = 1.0"]),
        ("x = True", ["x = False"]),
        ("x = 'group'", ["x = 'group~'"]),
        ("x = b if a else c", ["x = b if not a else c"]),
        ("x = [a for a in b if a]", ["x = [a for a in b if not a]"]),
        ("x = max(a, b)", ["x = min(a, b)"]),
        ("x = a.mean(b)", ["x = a.sum(b)"]),
        ("x = f(a, b)", ["x = f(b, a)"]),
        ("x = f(a, b=c)", ["x = f(a)"]),
        ("x = a.clamp(min=b)", ["x = a.clamp()", "x = a.clamp(max=b)"]),
        ("x = a[b:c]", ["x = a[b + 1:c]", "x = a[b:c - 1]"]),
        ("x += a", ["x -= a", "pass"]),
        ("x.y = a", ["pass"]),
        ("f(a)", ["pass"]),
        ("if a: b", ["if not a: b"]),
        ("def f(a): return a", ["def f(a): return None"]),
        ("def f(a=0.5): pass", ["def f(a=1.0): pass"]),
    ],
)
def test_the_faults_of_a_line_by_hand(source, expected):
    assert faults(source)[: len(expected)] == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "import os",
        "x: int | None",
        "assert a < b",
        "def f(a: 'A') -> 'B': pass",
        "x = 'a text of some words'",
        "x = f(device=a, strict=True)",
        "class A(Protocol):\n    x = 1",
        "if TYPE_CHECKING: x = 1",
    ],
)
def test_what_no_run_depends_on_is_left_alone(source):
    assert faults(source) == []


def test_what_an_error_says_is_left_alone_and_that_it_is_raised_is_not():
    assert faults("def f(): raise ValueError('a', 3)") == ["def f(): pass"]


def test_a_fault_knows_the_lines_that_come_by_it():
    source = "A = 1\ndef f(a):\n    if a > 2:\n        return g(\n            a + 1\n        )\n"
    reaches = {(m.before, m.line): m.reach for m in mutants(source)}
    assert reaches["1", 1] is None
    assert reaches["a > 2", 3] == range(3, 4)
    assert reaches["a + 1", 5] == range(4, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["core/regions.py", "core/weights/rest.py"])
def test_every_fault_of_a_module_can_be_compiled_and_none_is_its_source(name):
    source = (SOURCE / name).read_text(encoding="utf-8")
    plain = ast.dump(mutated(source, None))
    for mutant in mutants(source):
        tree = mutated(source, mutant.number)
        compile(tree, name, "exec")
        assert ast.dump(tree) != plain
        assert mutant.before != mutant.after
