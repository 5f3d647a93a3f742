"""Weighs a part of a batch in each of the processes that torchrun has started."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from toolrest.core.credit import deviation
from toolrest.core.regions import Region
from toolrest.core.weights import TokenBatch, TokenStatistics, get_scheme
from toolrest.engines.trl.ranks import weigh_together

ROWS, WIDTH, GROUP = 24, 40, 8
SCHEMES = ("stare", "top_entropy", "actfocus", "gtpo", "contrast", "top_entropy*stare")


def whole_batch() -> TokenBatch:
    """Responses of different lengths, in groups of which a process may get a part."""
    torch.manual_seed(0)
    lengths = torch.randint(3, WIDTH, (ROWS, 1))
    mask = torch.arange(WIDTH) < lengths
    entropy = 0.8 * torch.rand(ROWS, WIDTH) * mask
    surprisal = 2 * torch.rand(ROWS, WIDTH) * mask
    tokens = TokenStatistics(
        torch.randint(0, 9, (ROWS, WIDTH)) * mask, entropy, surprisal, torch.randn(ROWS), GROUP
    )
    regions = torch.randint(0, len(Region), (ROWS, WIDTH)) * mask
    return TokenBatch(regions, mask, token_statistics=tokens, start_entropy=0.5)


def part_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    """Some rows, no wider than they are."""
    width = int(batch.mask[rows].sum(dim=1).max())
    tokens = batch.tokens
    cut = [each[rows, :width] for each in (tokens.ids, tokens.entropy, tokens.surprisal)]
    statistics = TokenStatistics(*cut, tokens.advantages[rows], GROUP)
    regions, mask = batch.regions[rows, :width], batch.mask[rows, :width]
    return replace(batch, regions=regions, mask=mask, token_statistics=statistics)


def main(out: Path) -> None:
    accelerator = Accelerator(cpu=True)
    each = ROWS // accelerator.num_processes
    mine = slice(each * accelerator.process_index, each * (accelerator.process_index + 1))
    batch = part_of(whole_batch(), mine)
    found = {name: weigh_together(get_scheme(name), batch, accelerator) for name in SCHEMES}
    torch.save(found, out / f"{accelerator.process_index}.pt")
    rewards = accelerator.gather(whole_batch().tokens.advantages[mine])
    assert deviation(rewards) == deviation(whole_batch().tokens.advantages)
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
