"""Run assistants for many calls, in one process or in many."""

from ._calls import CallRequest, FleetFullError, FleetStatus
from ._seat import Seat

__all__ = ["CallRequest", "FleetFullError", "FleetStatus", "Seat"]
