"""Is this machine ready for a recipe? Checks that find what would stop or spoil a run."""

from toolrest.doctor.check import Check, Section, Status
from toolrest.doctor.examine import examine

__all__ = ["Check", "Section", "Status", "examine"]
