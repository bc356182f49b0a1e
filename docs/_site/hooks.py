"""Put the pictures of the benchmarks into the site, and keep everything foreign out of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

RESULTS = Path(__file__).parents[2] / "benches" / "results"

LOADED = re.compile(r"""(?:\bsrc|<link\b[^>]*\bhref)=["']?((?:https?:)?//[^"'> ]+)""")
"""Address that a browser fetches without being asked to; links that are clicked are not."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each picture of `benches/results` as `assets/NAME.svg`; they live with their results."""
    for picture in sorted(RESULTS.glob("*.svg")):
        name = f"assets/{picture.name}"
        files.append(File.generated(config, name, content=picture.read_bytes()))
    return files


def on_post_page(output: str, page: Page, **kwargs: Any) -> None:
    """Refuse a page that loads something from elsewhere.

    Raises:
        PluginError: it does; the build ends.
    """
    foreign = LOADED.findall(output)
    if foreign:
        raise PluginError(f"{page.file.src_uri} loads {', '.join(foreign)}")
