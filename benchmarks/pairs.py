"""Times of two sides that run in turn."""

import statistics
import time
from collections.abc import Callable


def pairs(
    ours: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, list[float]]:
    """Our seconds (median), and the ratio other / ours of each pair."""
    seconds, ratios = [], []
    for _ in range(repeats):
        times = []
        for work in (ours, other):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        seconds.append(times[0])
        ratios.append(times[1] / times[0])
    return statistics.median(seconds), ratios
