"""What `from toolrest import ...` gives, and that its docstrings say all that they should."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap

import pytest

import toolrest

SECTION = re.compile(r"^(Args|Returns|Raises|Yields):\n((?:(?: .*)?\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (\*{0,2}\w+): ", re.MULTILINE)


def own_methods(cls):
    """Methods that a user may call, and that override none of a parent."""
    for name, item in vars(cls).items():
        function = getattr(item, "__func__", item)
        shown = not name.startswith("_") or name == "__call__"
        inherited = name != "__call__" and hasattr(super(cls, cls), name)
        if shown and inspect.isfunction(function) and not inherited:
            yield f"{cls.__name__}.{name}", function


def public():
    """Every public function, and every public method of a public class."""
    for name in toolrest.__all__:
        item = getattr(toolrest, name)
        if inspect.isclass(item):
            yield from own_methods(item)
        else:
            yield name, item


def classes():
    return [c for n in toolrest.__all__ if inspect.isclass(c := getattr(toolrest, n))]


def entries(item, section):
    """What a section of a docstring describes: name -> text."""
    found = dict(SECTION.findall(inspect.getdoc(item) + "\n")).get(section, "")
    parts = ENTRY.split(found)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def raised(function):
    """Exceptions of its own raise statements, but for those of functions within it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    calls = [n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc is not None]
    return {c.func.id for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}


def parameters(function):
    given = inspect.signature(function).parameters.values()
    return {p.name: str(p.annotation) for p in given if p.name not in ("self", "cls")}


def attribute_docs(cls):
    """field -> (annotation, the text below it)."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    found = {}
    for field, text in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            said = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            found[field.target.id] = (
                ast.unparse(field.annotation),
                text.value.value if said else "",
            )
    return found


def without_shape(described):
    """Tensors whose text has no shape such as [B, T]."""
    return {
        name for name, (kind, text) in described.items() if "Tensor" in kind and "[" not in text
    }


def test_what_there_is():
    wanted = "ResTTrainer ResTConfig ToolReward Scheme register_scheme register_dialect"
    assert {*wanted.split(), "register_reward"} <= set(toolrest.__all__)
    assert toolrest.__all__ == sorted(toolrest.__all__) == sorted(toolrest._HOME)
    for name in toolrest.__all__:
        assert getattr(toolrest, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'ResTrainer'"):
        _ = toolrest.ResTrainer


def test_type_checkers_see_what_is_imported_late():
    tree = ast.parse(inspect.getsource(toolrest))
    seen = {
        alias.name: node.module.removeprefix("toolrest.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("toolrest")
        for alias in node.names
    }
    assert seen == toolrest._HOME


def test_the_import_alone_loads_nothing_heavy():
    code = "import sys, toolrest; print([m for m in ('torch', 'trl', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(*item, id=item[0]) for item in public()]
)
def test_a_function_says_what_it_takes_and_raises(name, function):
    text = inspect.getdoc(function)
    assert text and text.split("\n")[0].strip(), name
    said, taken = entries(function, "Args"), parameters(function)
    assert set(said) == set(taken), f"{name}: {set(said) ^ set(taken)}"
    described = {p: (kind, said[p]) for p, kind in taken.items()}
    assert not without_shape(described), f"{name}: {without_shape(described)}"
    assert raised(function) <= set(entries(function, "Raises")), name


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_a_class_says_what_it_holds(cls):
    assert inspect.getdoc(cls) and "Args:" not in inspect.getdoc(cls).split("\n")[0]
    fields, said = attribute_docs(cls), entries(cls, "Args")
    undescribed = {f for f, (kind, text) in fields.items() if not text and "ClassVar" not in kind}
    assert undescribed <= set(said), f"{cls.__name__}: {undescribed - set(said)}"
    assert not without_shape(fields), cls.__name__
    if "__init__" in vars(cls) and "__dataclass_fields__" not in vars(cls):
        assert set(said) == set(parameters(cls.__init__)), cls.__name__
        assert raised(cls.__init__) <= set(entries(cls, "Raises"))
