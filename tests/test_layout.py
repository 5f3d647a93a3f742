"""What docs/layout.md promises of the package's modules."""

from pathlib import Path

import grimp

SOURCE = Path(__file__).parents[1] / "src" / "toolrest"


def circles(edges):
    """The sets of nodes that reach each other; `edges`: {node: what it points to}."""
    reached = {}
    for start in edges:
        seen, waiting = set(), [start]
        while waiting:
            new = edges[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[start] = seen
    return {frozenset(b for b in reached[a] if a in reached[b]) for a in edges if a in reached[a]}


def test_modules_that_reach_each_other_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert circles(edges) == {frozenset("bc"), frozenset("e")}


def test_no_module_imports_itself_through_others():
    """Imports for type checking alone count: they tie a reader as the others do."""
    graph = grimp.build_graph("toolrest", exclude_type_checking_imports=False, cache_dir=None)
    edges = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(edges) > 400
    assert not circles(edges)


def test_the_roots_modules_are_those_that_tell_the_whole():
    names = {path.stem for path in SOURCE.glob("*.py")}
    assert names == {"__init__", "__main__", "errors", "training"}
