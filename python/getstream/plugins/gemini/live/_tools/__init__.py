"""Let the model call functions: what they are declared as, and how they run."""
