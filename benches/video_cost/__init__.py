"""Measure what video costs, beside what other agents do with a frame."""
