"""python own_environment.py POLICY: it looks up a code, and opens the door with it."""

import random
import sys

from toolrest import ResTConfig, ResTTrainer


class Door:  # from a recipe: environment.source=examples/own_environment.py:Door
    def reset(self, index: int = 0, seed: int = 0) -> str:
        """Begins an episode; equal rows and seeds begin alike."""
        self.code = str(random.Random(f"{index}/{seed}").randrange(1000, 9999))
        self.open = False
        return "Open the door with its code."

    def find_code(self) -> str:
        """Look up the code of the door."""
        return self.code

    def open_door(self, code: str) -> str:
        """Open the door.

        Args:
            code: Its code.
        """
        self.open = self.open or code == self.code
        return "open" if self.open else "error: this is not its code"

    def get_reward(self) -> float:
        """Ends an episode."""
        return float(self.open)


if __name__ == "__main__":
    from datasets import Dataset

    rows = Dataset.from_list([{"index": index} for index in range(8)])  # what `reset` is given
    args = ResTConfig("door", max_steps=1, max_turns=3, max_turn_tokens=48, logging_steps=1)
    args.per_device_train_batch_size = args.steps_per_generation = 4
    ResTTrainer(sys.argv[1], args=args, train_dataset=rows, environment=Door).train()
