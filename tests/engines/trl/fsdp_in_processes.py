"""`toolrest` in processes on a CPU, among which accelerate shards the policy by FSDP 2: it does so
for GPUs alone, so its state is told that this is one.
"""

import atexit
import os
import sys

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import distributed

from toolrest.cli.main import app
from toolrest.engines.trl import job

SETTINGS = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""What accelerate's launcher makes of fsdp.yaml."""


def shard_on_a_cpu():
    """Let accelerate's state take the plugin of FSDP, as it does on a GPU."""
    begin = AcceleratorState.__init__

    def shared(self, *given, fsdp_plugin=None, **more):
        begin(self, *given, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
        if self.fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP

    AcceleratorState.__init__ = shared
    job.check_device = lambda recipe, *, gpu: None


def fail_in_a_group():
    """End as a failure where the process ends within its group, in which torch may abort it."""
    if distributed.is_initialized():
        print("the process group was not left", file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    atexit.register(fail_in_a_group)
    os.environ |= SETTINGS
    shard_on_a_cpu()
    app(sys.argv[1:])
