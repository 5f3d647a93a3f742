"""Format score: does the reply have the ground truth's blocks?"""

from toolrest.core.dialects import Reply, Scan


def format_score(reply: Reply | Scan, truth: Reply | Scan) -> float:
    """1 if the reply has the ground truth's blocks, each once, in order, closed, nothing between.

    ResT, section 4 (S_format). A call that is not valid JSON is the correctness score's matter.
    """
    return float(reply.well_formed and reply.blocks == truth.blocks)
