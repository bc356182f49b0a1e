"""Modules of `python -m trials.fleet`, which breaks a fleet while people talk to it.

=============== ==================================================================
`stage`         local servers, `serve` and people, each in processes of its own
`people`        program: people in calls, who ask and listen
`assistants`    the application that is served
`processes`     CPU, memory and children of processes, read from /proc
`presence`      which sessions of the assistant publish in a call, and when
`hearing`       analysis of received sound: where it stops, where it comes back
`memory`        what a new session with the model knows of the one before
`verdicts`      quantiles, goals, results
`crashes`       trials: a worker, the control or both are killed, or hang
`drains`        trial: all workers are replaced while people talk
`requests`      trial: a webhook comes fifty times at once
`costs`         trial: Ray beside one process
`endings`       trials: `serve` is ended, and killed and started again
`ears`          trial: what a person hears when a worker dies in mid-sentence
`tables`        results as Markdown and JSON
=============== ==================================================================
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Folder of the repository."""

# The benches print progress and choose folders in one way, in modules without a package.
sys.path.insert(0, str(ROOT / "benches"))
