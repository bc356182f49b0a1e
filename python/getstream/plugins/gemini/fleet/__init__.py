"""Run assistants for many calls, in one process or in many."""

from ._calls import CallRequest, FleetFullError, FleetStatus
from ._local import LocalFleet
from ._placement import Limits
from ._seat import Seat

__all__ = ["CallRequest", "FleetFullError", "FleetStatus", "Limits", "LocalFleet", "Seat"]
