"""What answers a policy's calls: protocol, adapters, and the processes that they run in."""

from toolrest.environments.base import Ending, Environment, Finish, Start, Step

__all__ = ["Ending", "Environment", "Finish", "Start", "Step"]
