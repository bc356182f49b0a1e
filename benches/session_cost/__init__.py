"""What a session costs: CPU, lateness, memory, and the time that a lost connection takes."""
