"""What a recipe needs: memory, time and disk, calculated before anything is started."""

from toolrest.estimate.gpus import GPUS, Efficiency, Gpu, get_gpu
from toolrest.estimate.memory import Memory, memory
from toolrest.estimate.plan import (
    Estimate,
    added_checkpoints,
    checkpoint_bytes,
    estimate,
    kept_checkpoints,
)
from toolrest.estimate.shape import PUBLISHED, ModelShape, get_shape
from toolrest.estimate.time import Seconds, seconds

__all__ = [
    "GPUS",
    "PUBLISHED",
    "Efficiency",
    "Estimate",
    "Gpu",
    "Memory",
    "ModelShape",
    "Seconds",
    "added_checkpoints",
    "checkpoint_bytes",
    "estimate",
    "get_gpu",
    "get_shape",
    "kept_checkpoints",
    "memory",
    "seconds",
]
