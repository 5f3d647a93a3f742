"""An OpenEnv server whose actions are calls of MCP tools; run by uvicorn."""

from typing import Any

from fastmcp import FastMCP
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State


class Bank(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        server = FastMCP("bank")
        self._paid = 0
        self._state = State(episode_id="", step_count=0)

        @server.tool
        def pay(amount: int) -> str:
            """Pay an amount."""
            if amount > 100:
                raise ValueError("the account does not hold as much")
            self._paid += amount
            return f"paid {amount}"

        @server.tool
        def look() -> dict:
            """Look at the account."""
            return {"paid": self._paid}

        super().__init__(server)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **row: Any):
        self._paid = 0
        return Observation(done=False, reward=0.0, metadata={"seed": seed})

    def _step_impl(self, action: Any, **options: Any):
        return Observation(done=False, reward=0.0)

    def step(self, action: Any, **options: Any):
        return self._scored(super().step(action, **options))

    async def step_async(self, action: Any, **options: Any):
        return self._scored(await super().step_async(action, **options))

    def _scored(self, seen: Any):
        if isinstance(seen, CallToolObservation):
            seen.reward = self._paid / 10
            seen.done = self._paid >= 10
        return seen

    @property
    def state(self):
        return self._state


app = create_app(Bank, CallToolAction, CallToolObservation, env_name="bank", max_concurrent_envs=8)
