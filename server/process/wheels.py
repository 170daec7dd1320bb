"""Programs inside Python wheels of the extra `embedded`."""

import importlib.util
from pathlib import Path

__all__ = ["package_folder"]


def package_folder(package: str) -> Path | None:
    """Return the folder of an installed package, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
