"""The samples of an embedded world: of the single tasks, or of those whose thought decides."""

from toolrest.data.sample import Sample
from toolrest.world import demonstrations, tasks
from toolrest.world.tasks import Split
from toolrest.world.thought_demonstrations import demonstrated_thoughts
from toolrest.world.thought_tasks import Knobs, make_thought_samples


def world_samples(split: Split, count: int, seed: int, knobs: Knobs | None) -> list[Sample]:
    """`count` samples of the split, numbered from 0.

    Args:
        knobs: of the tasks whose thought decides; None: the single tasks.
    """
    if knobs is None:
        return tasks.make_samples(split, count, seed)
    return make_thought_samples(split, count, seed, knobs)


def demonstrated_world(split: Split, count: int, seed: int, knobs: Knobs | None) -> list[Sample]:
    """The samples of `world_samples`, each with a right demonstration."""
    if knobs is None:
        return demonstrations.demonstrated_samples(split, count, seed)
    return demonstrated_thoughts(split, count, seed, knobs)
