"""What says that a run's numbers cannot be trusted."""

from toolrest.guards.incidents import Incident, NonFiniteError, places_of_non_finite
from toolrest.guards.signs import Signs, Warned

__all__ = ["Incident", "NonFiniteError", "Signs", "Warned", "places_of_non_finite"]
