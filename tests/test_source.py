"""What the source may not do, looked for in its syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import toolrest

SOURCE = Path(toolrest.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "telnetlib"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "pd.read_pickle"),
    *("tempfile.mktemp", "numpy.load", "np.load", "torch.save", "subprocess.getoutput"),
}


def dotted(node: ast.expr) -> str:
    """`os.system` of a call's function; `?.eval` of what is called on a value."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def faults(tree: ast.AST) -> Iterator[str]:
    """What a file does that none may."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            yield from call_faults(node)
        elif isinstance(node, ast.ClassDef):
            for base in map(dotted, node.bases):
                if base.endswith("Loader") and base != "yaml.SafeLoader":
                    yield f"class {node.name}({base})"


def call_faults(node: ast.Call) -> Iterator[str]:
    """Calls that none may make, and those that must say something."""
    name = dotted(node.func)
    words = {word.arg: word.value for word in node.keywords if word.arg}
    if name in CALLS:
        yield name
    if "shell" in words and ast.unparse(words["shell"]) != "False":
        yield f"{name}(shell=..)"
    if "trust_remote_code" in words:
        allowed = ("trust_remote_code", "recipe.trust_remote_code")
        if ast.unparse(words["trust_remote_code"]) not in allowed:
            yield f"{name}(trust_remote_code={ast.unparse(words['trust_remote_code'])})"
    if node.func.__class__ is ast.Attribute and name.endswith(".from_pretrained"):
        owner = name.removesuffix(".from_pretrained")
        if "trust_remote_code" not in words and owner != "PeftModel":
            yield f"{name} without trust_remote_code"
        if (
            "CausalLM" in ast.unparse(node.func)
            and ast.unparse(words.get("use_safetensors", node)) != "True"
        ):
            yield f"{name} without use_safetensors=True"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_does_what_none_may(path):
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "written",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "yaml.load(text)",
        "class L(yaml.Loader): pass",
        "torch.load(path, weights_only=False)",
        "AutoModelForCausalLM.from_pretrained(path, trust_remote_code=recipe.trust_remote_code)",
        "AutoTokenizer.from_pretrained(path)",
        "AutoTokenizer.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_the_walk_sees_what_it_looks_for(written):
    assert list(faults(ast.parse(written)))
