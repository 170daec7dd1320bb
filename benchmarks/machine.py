"""The machine on which a benchmark runs."""

import os
import platform
from typing import Any

__all__ = ["this_machine"]


def this_machine() -> dict[str, Any]:
    """Return the first entries of a benchmark's setting."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
    }
