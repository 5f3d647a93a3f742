import pytest

from toolrest.engines.verl.reward_function import compute_score

TRUTH = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


def test_the_parts_that_verl_logs():
    assert compute_score("any", TRUTH, TRUTH, dialect="hermes") == {
        "score": 4.0,
        "exact_match": 1.0,
        "format": 1.0,
        "correctness": 1.0,
        "correctness_counts": 1.0,
        "names": 1.0,
        "parameters": 1.0,
        "values": 1.0,
        "over_called": 0.0,
    }
    wrong = compute_score("any", TRUTH.replace("1", "2"), TRUTH, dialect="hermes")
    # names 1 + parameters 1 + values 0 of (1 + 1 + 1): 2/3; reward 1 + (-3 + 6 * 2/3) = 2
    assert wrong["score"] == 2.0
    exact = compute_score(
        "any", TRUTH.replace("1", "2"), TRUTH, dialect="hermes", correctness="exact"
    )
    assert exact["score"] == -2.0


def test_the_recipes_ways_of_comparing():
    text = TRUTH.replace("1", '"1"')
    assert compute_score("any", text, TRUTH, dialect="hermes")["exact_match"] == 0.0
    lenient = compute_score("any", text, TRUTH, dialect="hermes", lenient_types=True)
    assert lenient["exact_match"] == 1.0
    both = {"partial": 1.0, "exact": 1.0}
    wrong = compute_score("any", TRUTH.replace("1", "2"), TRUTH, dialect="hermes", correctness=both)
    # (2/3 + 0) / 2
    assert wrong["correctness"] == pytest.approx(1 / 3)


def test_each_row_says_how_its_prompt_ends_and_what_its_tools_declare():
    cut = "I should think about how"
    assert compute_score("any", cut, cut, {}, dialect="hermes")["score"] == 4.0
    opened = {"opening": "<think>\n"}
    assert compute_score("any", cut, cut, opened, dialect="hermes")["format"] == 0.0
    reply = f"I see.\n</think>\n\n{TRUTH}"
    assert compute_score("any", reply, TRUTH, opened, dialect="hermes")["score"] == 4.0
    written, truth = (
        f"<tool_call>\n<function=f>\n<parameter=x>\n{value}\n</parameter>\n</function>\n</tool_call>"
        for value in ("1.0", "1")
    )
    assert compute_score("any", written, truth, dialect="qwen_xml")["exact_match"] == 1.0
    text = '[{"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}]'
    found = compute_score("any", written, truth, {"tools": text}, dialect="qwen_xml")
    assert found["exact_match"] == 0.0


def test_correctness_that_earns_nothing_on_any_range():
    said = "It is sunny."
    allowed = compute_score("any", said, said, dialect="hermes", punish_over_calls=False)
    assert (allowed["correctness_counts"], allowed["score"]) == (0.0, 1.0)
    punished = compute_score("any", said, said, dialect="hermes")
    assert (punished["correctness_counts"], punished["score"]) == (1.0, 4.0)
