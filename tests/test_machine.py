"""What has changed since a run began is said and kept."""

import json

import pytest

from toolrest.machine import describe_machine, record_machine
from toolrest.runs import RunFolder, begin_run


@pytest.fixture
def run(tmp_path):
    found = RunFolder(tmp_path)
    begin_run(found, "seed: 0\n", 0)
    return found


def environment(run):
    return json.loads(run.environment.read_text())


def test_the_machine_is_recorded_once(run):
    assert "machine" not in environment(run)
    assert record_machine(run, 0, 1) == []
    assert environment(run)["machine"] == describe_machine(1)
    assert record_machine(run, 0, 1) == []
    assert "resumed" not in environment(run)


def test_what_has_changed_is_said_and_kept(run):
    record_machine(run, 0, 1)
    known = environment(run)
    known["versions"]["torch"] = "2.0"
    known["machine"]["threads"] = 99
    run.environment.write_text(json.dumps(known))
    changed = record_machine(run, 0, 2)
    assert [line.split(" was ")[0] for line in changed] == ["torch", "threads", "processes"]
    assert changed[2] == "processes was 1, is 2"
    assert len(environment(run)["resumed"]) == 1
    assert environment(run)["versions"]["torch"] == "2.0"


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_an_environment_that_cannot_be_read_is_said(run, content):
    run.environment.write_text(content)
    assert "could not be read" in record_machine(run, 0, 1)[0]
    assert environment(run)["machine"]["processes"] == 1
