"""The processes that train one policy together."""

import os
import weakref

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from toolrest.engines.common.ranks import Ranks


@pytest.fixture
def group_of_one(monkeypatch):
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", "0")):
        monkeypatch.setitem(os.environ, name, value)
    distributed.init_process_group("gloo", rank=0, world_size=1)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_models_that_are_garbage_go_before_their_group(group_of_one, monkeypatch):
    """One that outlived it would end it with the interpreter's lock held, which its threads may
    wait for: two processes that had trained hung now and then.
    """
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.itself = [model]  # as a trainer and its callbacks are: not freed with the last name
    alive, destroy, seen = weakref.ref(model), distributed.destroy_process_group, []
    del model
    monkeypatch.setattr(
        distributed, "destroy_process_group", lambda: (seen.append(alive()), destroy())
    )
    Ranks(0, 2).leave()
    assert seen == [None]
    assert not distributed.is_initialized()
