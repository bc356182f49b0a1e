"""Count and report what happens in a session."""
