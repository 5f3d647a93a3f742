"""SECURITY.md's table of what is loaded: each row has a test, and each place that loads has a row.

A loader that is added anywhere in the source fails here until the table says what it can do.
"""

import ast
import re
from pathlib import Path

import pytest
from test_source import FILES, SOURCE, dotted

ROOT = Path(__file__).parent.parent
SECURITY = ROOT / "SECURITY.md"
LOADERS = {
    *("from_pretrained", "snapshot_download", "load_dataset", "safe_open", "load_file"),
    *("load_from_json", "ParquetFile", "get_template", "spec_from_file_location"),
    *("import_module", "read_text", "read_bytes", "read_json", "read_whole", "iterate_lines"),
    *("read_object", "object_or_none", "given_object"),
    *("open_regular", "whole_lines", "plain_values", "open", "_load_from_checkpoint"),
    *("open_kept", "read_kept"),
    *("_load_rng_state", "_load_optimizer_and_scheduler", "LLM", "OfficialBFCL"),
}
"""Names of calls that read what is not in the call."""
WRITES = ("w", "a", "x", "wb", "ab", "xb")
ROWS = {
    "recipe": ("recipe/load.py", "experiments/plan.py", "runs/listing.py"),
    "config.json, and the index of weights": (
        "policy/weights.py:load_config",
        "policy/weights.py:_without_weights",
        "policy/safe_folder.py",
        "policy/own_code.py",
        "doctor/policy.py",
        "runs/origins.py:_named_weights",
    ),
    "tokenizer": ("policy/tokenizer.py:load_tokenizer",),
    "generation_config.json": ("policy/weights.py:load_generation_config",),
    "weights": ("policy/weights.py:load_policy", "policy/finite.py", "evaluate/backends/vllm.py"),
    "adapters": ("policy/adapters.py",),
    "a policy's name on the hub": ("policy/folder.py:_fetched", "policy/folder.py:kept_policy"),
    "training state": ("engines/trl/checkpoints.py", "engines/trl/trainer_state.py"),
    "a run's files": (
        *(
            "runs/folder.py",
            "runs/checkpoints.py",
            "runs/reproducibility.py",
            "evaluate/of_run.py",
            "report/inspect.py",
            "report/rollouts_of.py",
            "cli/watch.py",
            "report/page_of_runs/reading.py",
            "report/page_of_runs/benchmarks.py",
        ),
        *(
            "report/compare.py",
            "report/following.py",
            "report/live.py",
            "engines/common/monitor.py",
            "experiments/results.py",
            "experiments/stability/results.py",
            "experiments/ahead.py",
        ),
        *(
            "experiments/cells.py",
            "engines/verl/job.py",
            "engines/verl/launch.py",
            "engines/verl/checkpoints.py",
            "engines/verl/plugin.py",
        ),
        *("runs/best.py", "runs/claims.py", "runs/collapse.py", "evaluate/in_training.py"),
        "doctor/self_test.py",
        *(
            "runs/origins.py:read_origins",
            "runs/origins.py:accepted_changes",
            "report/supervised.py",
        ),
        "cli/train.py:_reasons_left",
        "policy/wording.py:read_wording",
        "runs/extension.py",
        "export/results.py",
        "export/write.py",
        "experiments/sameness.py",
        "export/find.py:_end",
    ),
    "a policy's model card": ("runs/card_of_run.py:kept_licence",),
    "an evaluation's files": (
        "evaluate/environment.py:prepare_folder",
        *("evaluate/answers.py", "evaluate/results.py", "evaluate/backends/findings.py"),
    ),
    "data": ("data/rows.py", "evaluate/apibank.py", "evaluate/score_file.py"),
    "rows in the cache folder": ("io/cache.py", "engines/common/reading.py"),
    "a reward function": ("io/python_file.py", "recipe/reward_file.py"),
    "tools of a chat": ("io/python_file.py", "chat/tools.py"),
    "an environment": (
        *("environments/load.py", "environments/source_file.py", "io/python_file.py"),
        "environments/adapters/bfcl.py",
    ),
    "an OpenEnv server": ("environments/adapters/openenv.py",),
    "bfcl-eval": (
        "evaluate/bfcl/worker.py",
        "evaluate/bfcl/questions.py",
        "evaluate/asked.py",
    ),
    "sizes": ("policy/sizing.py", "estimate/show.py"),
}
"""The table's rows, and the places that load them: files, or functions in them."""
OURS = {
    "io/files.py": "the readers themselves",
    "io/objects.py": "the readers themselves",
    "io/tail.py": "the readers themselves",
    "engines/trl/__init__.py": "our own modules by their names",
    "io/terminal.py": "the standard streams",
    "recipe/shipped.py": "our own recipes",
    "cli/shipped.py": "our own recipes",
    "__init__.py": "our own modules by their names",
    "report/page_of_runs/write.py": "files of the package",
    "report/page.py": "templates of the package",
    "runs/model_card.py": "a template of the package",
    "engines/trl/processes.py": "a number that our own process wrote",
    "evaluate/backends/vllm.py": "the package vllm",
    "environments/child.py": "the system's numbers of our own process",
    "world/build.py": "weights of the package",
}
"""Places that load nothing that others made."""


def loads(tree: ast.AST):
    """(function, loader) of each call that loads."""

    def walk(node, inside):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node.name
        if isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            if name in LOADERS and not _writes(node, name):
                yield inside, name
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return list(walk(tree, ""))


def _writes(call: ast.Call, name: str) -> bool:
    modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
    return name == "open" and any(mode in WRITES for mode in modes)


def rows() -> dict[str, tuple[str, str]]:
    """The table of what is loaded: by name, what it can do, and what holds the rest."""
    text = SECURITY.read_text()
    table = text.split("## What is loaded")[1].split("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {
        name.strip(): (" ".join(parts[:-1]), parts[-1])
        for name, *parts in cells[1:]
        if not name.startswith("---")
    }


def known(path: str, function: str) -> list[str]:
    """The rows, or our own reasons, of a place."""
    places = (path, f"{path}:{function}")
    found = [row for row, where in ROWS.items() if any(place in where for place in places)]
    return found or ([OURS[path]] if path in OURS else [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_place_that_loads_has_a_row(path):
    name = str(path.relative_to(SOURCE))
    for function, loader in loads(ast.parse(path.read_text(encoding="utf-8"))):
        assert known(name, function), f"{name}: {function} calls {loader}; SECURITY.md has no row"


def test_every_row_loads_something():
    """A row, or a place of one, that is gone is taken out."""
    seen = set()
    for path in FILES:
        name = str(path.relative_to(SOURCE))
        for function, _ in loads(ast.parse(path.read_text(encoding="utf-8"))):
            seen |= {name, f"{name}:{function}"}
    assert [p for places in ROWS.values() for p in places if p not in seen] == []
    assert [path for path in OURS if path not in seen] == []


def test_the_table_and_the_places_are_the_same():
    assert set(rows()) == set(ROWS)


@pytest.mark.parametrize("row", list(ROWS))
def test_every_row_has_tests_that_are_there(row):
    can, held = rows()[row]
    assert len(can) > 40
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", held)
    assert named, f"{row}: no test"
    for path, test in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test or 'test_'}" in text, (path, test)


def test_every_field_that_is_refused_is_in_the_table():
    """The table names each field of a policy's files that is refused, and what is passed by us."""
    from toolrest.policy import adapters, safe_fields, safe_folder

    text = SECURITY.read_text()
    fields = {*safe_fields._NEVER, *safe_fields._CHOICES} - {"dtype"}
    fields |= {"auto_map", "model_type", "tokenizer_class", "_name_or_path", "target_modules"}
    fields |= {*adapters._LOOKED_AT}
    missing = [name for name in sorted(fields) if f"`{name}`" not in text]
    assert missing == []
    endings = {pattern.removeprefix("*") for pattern in safe_folder._PICKLES}
    assert [end for end in sorted(endings) if f"`{end}`" not in text] == []


@pytest.mark.parametrize(
    "written",
    ["x.from_pretrained(a)", "open(a)", "p.open('rb')", "p.read_text()", "torch.load_file(a)"],
)
def test_the_walk_sees_what_it_looks_for(written):
    assert loads(ast.parse(f"def f():\n    {written}"))[0][0] == "f"
    assert not known("new.py", "f")
