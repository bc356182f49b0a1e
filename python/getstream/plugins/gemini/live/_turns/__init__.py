"""Decide who speaks, and carry it out on the playback: policy, controller, transcript."""
