"""Runs before the program, because its folder is on PYTHONPATH (see the `site` module).

Redirects the Stream SDK if the variable is set, then runs the `sitecustomize` that this one hides.
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


import getstream_local_redirect  # type: ignore[import-not-found]  # noqa: E402  (beside this file)

try:
    getstream_local_redirect.install()
finally:
    _run_hidden_sitecustomize()
