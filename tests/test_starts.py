"""No order in which two processes begin, go on with or remove runs loses what one of them holds."""

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

import interleavings
import pytest
from interleavings import every_order, stage

from toolrest.errors import InputError
from toolrest.io import files
from toolrest.io.files import append_json, write_json
from toolrest.runs import environment
from toolrest.runs.claims import new_run, remove_run, resumed_run
from toolrest.runs.environment import begin_run
from toolrest.runs.folder import RunFolder

RUN = RunFolder(Path("runs") / "x")
PREEMPTIONS = int(os.environ.get("TOOLREST_PREEMPTIONS", "2"))
"""How often a process may be stopped in the middle; 3 takes minutes."""
MANY_ORDERS = pytest.mark.parametrize(
    "preemptions", [1, pytest.param(PREEMPTIONS, marks=pytest.mark.slow)]
)
"""Of pairs of processes with the most orders, each is stopped once in the quick tests."""


@pytest.fixture(autouse=True)
def quick_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(files, "_sync", lambda folder: None)
    monkeypatch.setattr(files, "_PATIENCE", 0.0)
    monkeypatch.setattr(environment, "describe_environment", lambda seed: {"seed": seed})
    interleavings.stop_at(monkeypatch)


class Starter:
    """`toolrest train` without the training.

    Args:
        how: `name=x`, `default` (of the same name), `resume`, `auto`, or `remove`, as a comparison
            does with a run that has no checkpoint.
        fails: `never`, or with bad input `before` the recipe is written, once it has `begun`, or
            once something was `used`.
    """

    busy: ClassVar[set[Path]] = set()

    def __init__(self, me, how, fails):
        self.me, self.how, self.fails = me, how, fails

    def __call__(self):
        if self.how == "remove":
            remove_run(RUN)
            return None
        claim = {
            "name=x": lambda: new_run("x", "unused"),
            "default": lambda: new_run(None, "x"),
            "resume": lambda: resumed_run("runs/x"),
            "auto": lambda: resumed_run("auto"),
        }[self.how]
        with claim() as run:
            assert run.path not in self.busy, "two train in one folder"
            self.busy.add(run.path)
            try:
                return self.train(run)
            finally:
                self.busy.remove(run.path)

    def train(self, run):
        new = self.how in ("name=x", "default")
        self.fail("before")
        if new:
            begin_run(run, f"by {self.me}", 0)
        else:
            run.rewind(1)
        stage()
        self.fail("begun")
        before = run.recipe.read_text()
        for step in (1, 2) if new else (2,):
            append_json(run.metrics, {"step": step, "by": self.me})
            stage()
            self.fail("used")
        write_json(run.summary, {"by": self.me})
        stage()
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2]
        assert {line["by"] for line in lines if new or line["step"] == 2} == {self.me}
        assert run.recipe.read_text() == before
        assert json.loads(run.summary.read_text()) == {"by": self.me}
        assert run.environment.is_file()
        assert run.lock.is_file()
        return run.path

    def fail(self, when):
        if self.fails == when:
            raise InputError("bad input")


def nothing():
    pass


def killed_before_it_began():
    RUN.path.mkdir(parents=True)
    RUN.lock.touch()
    (RUN.path / "recipe.yaml.12.part").write_text("by")
    (RUN.path / "warm_start.part").mkdir()


def stopped():
    RUN.path.mkdir(parents=True)
    begin_run(RUN, "by nobody", 0)
    append_json(RUN.metrics, {"step": 1, "by": "nobody"})


def orders(before, starters, preemptions=PREEMPTIONS):
    """The starters' ends, in every order."""

    def works():
        shutil.rmtree("runs", ignore_errors=True)
        before()
        return starters

    for players in every_order(works, preemptions):
        for starter, player in zip(starters, players, strict=True):
            error = player.error
            assert error is None or isinstance(error, InputError), (starter.how, error)
            if error is not None:
                assert len(str(error).splitlines()) == 1
        yield [
            "done" if p.error is None else "bad" if str(p.error) == "bad input" else str(p.error)
            for p in players
        ]


def left():
    return sorted(path.name for path in Path("runs").glob("*"))


REFUSED = "choose another name"


@pytest.mark.slow
@pytest.mark.parametrize("before", [nothing, killed_before_it_began])
def test_of_two_who_begin_a_run_of_one_name_one_trains(before):
    starters = [Starter("a", "name=x", "never"), Starter("b", "name=x", "never")]
    seen = set()
    for ends in orders(before, starters):
        assert sorted(end == "done" for end in ends) == [False, True]
        (said,) = (end for end in ends if end != "done")
        assert REFUSED in said
        seen.add("another process is training there" in said)
        assert left() == ["x"]
    assert seen == {True, False}, "both the busy and the finished run were met"


@MANY_ORDERS
@pytest.mark.parametrize("fails", ["before", "begun"])
@pytest.mark.parametrize("before", [nothing, killed_before_it_began])
def test_who_fails_leaves_alone_what_the_other_has_begun(before, fails, preemptions):
    starters = [Starter("a", "name=x", fails), Starter("b", "name=x", "never")]
    seen = set()
    for bad, good in orders(before, starters, preemptions):
        assert bad == "bad" or REFUSED in bad
        assert good == "done" or (bad == "bad" and REFUSED in good)
        assert left() == (["x"] if good == "done" else [])
        seen.add((bad == "bad", good == "done"))
    assert seen == {(True, True), (True, False), (False, True)}


@MANY_ORDERS
@pytest.mark.parametrize("fails", [("before", "before"), ("before", "begun"), ("begun", "begun")])
def test_where_both_fail_nothing_is_left(fails, preemptions):
    starters = [Starter(me, "name=x", when) for me, when in zip("ab", fails, strict=True)]
    for ends in orders(nothing, starters, preemptions):
        assert "bad" in ends
        assert all(end == "bad" or REFUSED in end for end in ends)
        assert left() == []


def test_what_was_done_stays_where_both_fail():
    starters = [Starter(me, "name=x", "used") for me in "ab"]
    for ends in orders(nothing, starters):
        assert sorted(end == "bad" for end in ends) == [False, True]
        assert left() == ["x"]
        assert json.loads(RUN.metrics.read_text())["by"] == "ab"[ends.index("bad")]


@MANY_ORDERS
@pytest.mark.parametrize("fails", ["never", "begun"])
def test_default_names_never_meet(fails, preemptions):
    starters = [Starter("a", "default", fails), Starter("b", "default", "never")]
    for ends in orders(nothing, starters, preemptions):
        assert ends == ["done" if fails == "never" else "bad", "done"]
        assert len(left()) == (2 if fails == "never" else 1)


@MANY_ORDERS
@pytest.mark.parametrize(
    ("fails", "default_fails"),
    [("never", "never"), ("before", "never"), ("never", "before"), ("begun", "begun")],
)
def test_a_name_and_the_same_default_name_do_not_meet(fails, default_fails, preemptions):
    starters = [Starter("a", "name=x", fails), Starter("b", "default", default_fails)]
    for named, default in orders(nothing, starters, preemptions):
        assert default == ("done" if default_fails == "never" else "bad")
        assert named == ("done" if fails == "never" else "bad") or REFUSED in named
        assert len(left()) == [named, default].count("done")


@pytest.mark.parametrize("how", ["resume", "auto"])
def test_of_two_who_go_on_with_a_run_one_trains(how):
    starters = [Starter("a", "resume", "never"), Starter("b", how, "never")]
    for ends in orders(stopped, starters):
        assert sorted(end == "done" for end in ends) == [False, True]
        (said,) = (end for end in ends if end != "done")
        known = ("another process is training there", "that run is done", "is unfinished")
        assert any(text in said for text in known)


@pytest.mark.parametrize("fails", ["before", "begun", "used"])
def test_a_resumed_run_that_fails_is_kept(fails):
    starters = [Starter("a", "resume", fails), Starter("b", "resume", "never")]
    for bad, good in orders(stopped, starters):
        assert bad == "bad" or "another process is training there" in bad or "is done" in bad
        assert good == "done" or (bad == "bad" and "another process is training there" in good)
        assert json.loads(RUN.metrics.read_text().splitlines()[0]) == {"step": 1, "by": "nobody"}


def test_a_new_run_takes_nothing_from_a_stopped_one():
    """Each may find that the other holds the folder; nobody is worse for that."""
    starters = [Starter("a", "name=x", "never"), Starter("b", "resume", "never")]
    for new, resumed in orders(stopped, starters):
        assert REFUSED in new
        assert resumed == "done" or "another process is training there" in resumed
        assert json.loads(RUN.metrics.read_text().splitlines()[0]) == {"step": 1, "by": "nobody"}
        assert RUN.recipe.read_text() == "by nobody"


@pytest.mark.parametrize("fails", ["never", "before", "begun", "used"])
@pytest.mark.parametrize("how", ["resume", "auto"])
def test_who_goes_on_with_a_run_that_just_begins_takes_nothing_from_it(how, fails):
    starters = [Starter("a", "name=x", fails), Starter("b", how, "before")]
    for new, resumed in orders(nothing, starters):
        assert new == ("done" if fails == "never" else "bad") or REFUSED in new
        assert resumed != "done"
        if new == "done":
            assert left() == ["x"]
        elif fails == "used" and new == "bad":
            assert json.loads(RUN.metrics.read_text()) == {"step": 1, "by": "a"}
        elif left():
            assert [path.name for path in RUN.path.iterdir()] == ["lock"], "free for the next"


@pytest.mark.parametrize("fails", ["never", "begun"])
def test_a_run_that_goes_on_is_not_removed(fails):
    starters = [Starter("a", "resume", fails), Starter("b", "remove", "never")]
    seen = set()
    for resumed, removed in orders(stopped, starters):
        seen.add((resumed == "done", removed == "done"))
        if resumed == "done":
            assert removed == "done" or "another process is training there" in removed
        assert RUN.summary.is_file() == (resumed == "done" and removed != "done")
        assert RUN.recipe.is_file() == (removed != "done")
    assert (fails == "never", False) in seen


def test_three_at_once():
    starters = [
        Starter("a", "name=x", "begun"),
        Starter("b", "name=x", "before"),
        Starter("c", "name=x", "never"),
    ]
    for *bad, good in orders(nothing, starters, 1):
        assert good == "done" or REFUSED in good
        assert left() == (["x"] if good == "done" else [])
        assert "bad" in bad or good == "done"
