"""Command `manifests`: files to deploy a fleet, to be read and changed."""

from __future__ import annotations

from importlib.resources import files

from ..errors import ConfigError

__all__ = ["manifest_names", "read_manifest", "run_manifests"]

MANIFESTS = {
    "Dockerfile": "an image with the package and your app.py, for all that follows",
    "compose.yaml": "one process and a store of records, for Docker Compose",
    "kuberay.yaml": "gates, workers on Ray and their store, for Kubernetes with KubeRay",
}


def manifest_names() -> list[str]:
    """Return the names of the files."""
    return list(MANIFESTS)


def read_manifest(name: str) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: there is no file of that name.
    """
    if name not in MANIFESTS:
        raise ConfigError(f"There is no manifest {name!r:.100}: there is {', '.join(MANIFESTS)}")
    package = files("getstream.plugins.gemini")
    return (package / "fleet" / "manifests" / name).read_text("utf-8")


def run_manifests(name: str | None) -> int:
    """Print a file, or the list of them.

    Returns:
        0.

    Raises:
        ConfigError: there is no file of that name.
    """
    if name is not None:
        print(read_manifest(name), end="")
        return 0
    width = max(map(len, MANIFESTS))
    for each, summary in MANIFESTS.items():
        print(f"{each:{width}}  {summary}")
    return 0
