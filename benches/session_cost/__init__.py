"""Programs and tables of `session.py`, which measures the cost of a session."""
