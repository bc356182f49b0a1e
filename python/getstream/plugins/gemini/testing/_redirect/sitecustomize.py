"""Runs before the program, because its folder is on PYTHONPATH (see the `site` module).

Redirects the Stream SDK and watches the test process, each if its variable is set; then runs the
`sitecustomize` that this one hides.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys


def _run_hidden_sitecustomize() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


# Beside this file:
import getstream_local_lifeline  # type: ignore[import-not-found]  # noqa: E402
import getstream_local_redirect  # type: ignore[import-not-found]  # noqa: E402

try:
    getstream_local_lifeline.install()
    getstream_local_redirect.install()
finally:
    _run_hidden_sitecustomize()
