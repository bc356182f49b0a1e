"""Run whole programs on local servers, break them, and hold what is seen against goals."""
