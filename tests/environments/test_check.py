"""What the check of an environment finds."""

from pathlib import Path

import pytest

from toolrest.environments.base import Finish, Start, Step
from toolrest.environments.check import Fit, Verdict, check_environment
from toolrest.environments.episode import Limits

BANK = f"{Path(__file__).parent / 'sources' / 'bank.py'}:Bank"
LIMITS = Limits(call_timeout=20)
TOOL = {
    "name": "pay",
    "description": "Pay.",
    "parameters": {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "how": {"enum": ["cash", "card"]}},
        "required": ["amount", "how"],
    },
}


class Right:
    """Nothing is wrong with it. The others differ in one thing."""

    def reset(self, row, seed):
        return Start(({"role": "user", "content": f"Pay {seed}."},), (TOOL,))

    def call(self, calls):
        fine = [each.name == "pay" and set(each.parameters) == {"amount", "how"} for each in calls]
        results = tuple((each.name, f"{each.parameters}") for each in calls)
        return Step(results, errors=fine.count(False))

    def finish(self, reply, ending):
        return Finish(reward=0.5)

    def close(self):
        pass


class Unseeded(Right):
    drawn = 0

    def reset(self, row, seed):
        import uuid

        return Start(({"role": "user", "content": str(uuid.uuid4())},), (TOOL,))


class RaisesOnAnUnknownTool(Right):
    def call(self, calls):
        if calls[0].name != "pay":
            raise KeyError(calls[0].name)
        return super().call(calls)


class RaisesOnWrongArguments(Right):
    def call(self, calls):
        if calls[0].name == "pay":
            calls[0].parameters["amount"] + 1
        return super().call(calls)


class RaisesInReset(Right):
    def reset(self, row, seed):
        raise ValueError("no such row")


class RaisesInFinish(Right):
    def finish(self, reply, ending):
        raise ValueError("no judge")


class RaisesInClose(Right):
    def close(self):
        raise ValueError("no door")


class CountsNoErrors(Right):
    def call(self, calls):
        return Step(tuple((each.name, "?") for each in calls))


class TwoOfOneName(Right):
    def reset(self, row, seed):
        return Start(({"role": "user", "content": "Pay."},), (TOOL, TOOL))


class Undescribed(Right):
    def reset(self, row, seed):
        return Start(({"role": "user", "content": "Pay."},), ({"name": "pay"},))


class Long(Right):
    def reset(self, row, seed):
        return Start(({"role": "user", "content": "word " * 500},), (TOOL,))

    def call(self, calls):
        return Step(tuple((each.name, "word " * 300) for each in calls), errors=1)


def found(source, rows=(), fit=None):
    findings = check_environment(source, rows, LIMITS, fit)
    assert all("\n" not in each.text for each in findings)
    return [each for each in findings if each.verdict != Verdict.FINE], findings


def test_an_environment_that_is_right_has_nothing_but_fine_findings():
    bad, findings = found(Right, [{"a": 1}, {"a": 2}])
    assert bad == []
    said = " ".join(each.text for each in findings)
    assert "equal seeds begin equal episodes (2 rows)" in said
    assert "1 tool: pay" in said and "the reward 0.5" in said and "close ends" in said


@pytest.mark.parametrize(
    ("source", "verdict", "said"),
    [
        (Unseeded, "wrong", "begin differently with one seed"),
        (RaisesOnAnUnknownTool, "wrong", "of the call no_such_tool()"),
        (RaisesOnWrongArguments, "wrong", "of the call pay(no_such_parameter=1)"),
        (RaisesInReset, "wrong", "ValueError: no such row (test_check.py, line"),
        (RaisesInFinish, "wrong", "ValueError: no judge"),
        (RaisesInClose, "wrong", "ValueError: no door"),
        (CountsNoErrors, "note", "does not count as an error"),
        (TwoOfOneName, "wrong", "two tools have one name"),
        (Undescribed, "note", "the tool pay has no description"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_is_found(source, verdict, said):
    bad, _ = found(source)
    assert any(each.verdict == verdict and said in each.text for each in bad), bad


def test_lengths_are_told_by_the_policys_tokens():
    fit = Fit(lambda text: len(text.split()), max_prompt=400, max_result=256)
    bad, _ = found(Long, fit=fit)
    texts = [each.text for each in bad]
    assert any("of 400 that a prompt may have" in each for each in texts)
    assert any("a result has 300 tokens and is cut to 256" in each for each in texts)
    assert found(Right, fit=fit)[0] == []


def test_a_trl_class_is_checked_with_what_is_left_out():
    bad, _ = found(BANK, [{"prompt": "Pay."}])
    assert [each.verdict for each in bad] == ["note", "note"]
    assert bad[0].text.startswith("audit has no docstring: it is no tool")


def test_a_source_that_is_wrong_is_one_finding():
    bad, findings = found("nowhere.py:Bank")
    assert len(findings) == 1 and "there is no file nowhere.py" in bad[0].text
