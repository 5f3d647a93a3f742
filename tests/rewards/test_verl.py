from toolrest.rewards.verl import compute_score

TRUTH = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


def test_the_parts_that_verl_logs():
    assert compute_score("any", TRUTH, TRUTH, dialect="hermes") == {
        "score": 4.0,
        "exact_match": 1.0,
        "format": 1.0,
        "correctness": 1.0,
    }
    wrong = compute_score("any", TRUTH.replace("1", "2"), TRUTH, dialect="hermes")
    # names 1 + parameters 1 + values 0 of (1 + 1 + 1): 2/3; reward 1 + (-3 + 6 * 2/3) = 2
    assert wrong["score"] == 2.0
    exact = compute_score(
        "any", TRUTH.replace("1", "2"), TRUTH, dialect="hermes", correctness="exact"
    )
    assert exact["score"] == -2.0
