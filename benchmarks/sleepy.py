"""An environment whose one tool takes a second, for `agents.py`; TRL and toolrest both take it."""

import time

SECONDS = 1.0


class Sleepy:
    """Answers late."""

    def reset(self, **row) -> None:
        """Nothing is held."""

    def wait(self) -> str:
        """Wait for a second."""
        time.sleep(SECONDS)
        return "done"

    def get_reward(self) -> float:
        return 0.0
