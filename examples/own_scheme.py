"""A weighting scheme of your own: tokens of the call weigh more, the longer the run lasts."""

from dataclasses import dataclass

import torch

from toolrest import Region, Scheme, TokenBatch, get_scheme, register_scheme


@dataclass(frozen=True)
class LateCalls(Scheme):
    """1 + gain * progress for names and parameters, 1 for all else."""

    gain: float = 2.0
    """In a recipe: weighting.options.gain."""

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        decisive = (batch.regions == Region.NAME) | (batch.regions == Region.PARAMETERS)
        return torch.where(decisive, 1 + self.gain * batch.progress, 1.0)


register_scheme("late_calls", LateCalls)

if __name__ == "__main__":
    regions = torch.tensor([[Region.REASONING, Region.FORMAT, Region.NAME, Region.PARAMETERS]])
    batch = TokenBatch(regions, mask=torch.ones(1, 4, dtype=torch.bool), progress=1.0)
    print(get_scheme("late_calls")(batch))  # 0.5, 0.5, 1.5, 1.5: of mean 1
    print(get_scheme("late_calls*uniform", late_calls={"gain": 0.0})(batch))
