"""Checks of what is believed of the services, for `doctor --live`."""
