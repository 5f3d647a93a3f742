"""A class in the style of TRL's documentation: `reset(**row)`, methods as tools, `get_reward`."""

import asyncio
import random


class Bank:
    def __init__(self):
        self.balance = 0
        self.paid = 0

    def reset(self, **kwargs) -> str | None:
        self.balance = random.randint(10, 1000)
        self.paid = 0
        self.wanted = kwargs.get("amount", 5)
        return f" The account holds {self.balance}."

    def pay(self, amount: int, to: str = "landlord") -> str:
        """
        Pay somebody.

        Args:
            amount: How much is paid
            to: Who is paid

        Returns:
            What was done.
        """
        if amount > self.balance:
            raise ValueError("the account does not hold as much")
        self.balance -= amount
        self.paid += amount
        return f"paid {amount} to {to}"

    def look(self) -> dict:
        """
        Look at the account.
        """
        return {"balance": self.balance, "paid": self.paid}

    async def wait(self, seconds: float) -> str:
        """
        Wait for some time.

        Args:
            seconds: How long
        """
        await asyncio.sleep(seconds)
        return "waited"

    def audit(self, secret):
        return self.balance + secret

    def undocumented(self, amount: int) -> int:
        return amount

    def _hidden(self, amount: int) -> int:
        """
        Hidden.

        Args:
            amount: Any
        """
        return amount

    def state(self) -> dict:
        """
        What is known of the account.
        """
        return {"balance": self.balance}

    def get_reward(self) -> float:
        return 1.0 if self.paid == self.wanted else 0.0

    def close(self) -> None:
        """
        End the session.
        """


class Patient(Bank):
    """Its reward takes its time, and is given without blocking."""

    async def get_reward(self) -> float:
        await asyncio.sleep(0.01)
        return 0.25


class Kept:
    """As TRL's examples: the reward is kept in `reward`, for a reward function."""

    def __init__(self):
        self.reward = 0.0

    def reset(self, **kwargs) -> None:
        self.reward = 0.0

    def echo(self, message: str) -> str:
        """
        Echo a message.

        Args:
            message: The message

        Returns:
            The message.
        """
        self.reward = len(message) / 10
        return message


class Endless(Bank):
    def get_reward(self) -> float:
        while True:
            pass


class Columns(Kept):
    def reset(self, account, seed=None):
        return f" {account} {seed}"


class NoTools:
    def reset(self, **kwargs) -> None:
        return None

    def helper(self, x):
        return x
