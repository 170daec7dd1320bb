"""A file that a healthy part touches: the health checks of containers compare its age, which costs nothing."""

import logging
from pathlib import Path

__all__ = ["Beat"]

logger = logging.getLogger(__name__)


class Beat:
    """Touches a file each time it is called; does nothing without a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self) -> None:
        """Touch the file: the part is well now."""
        if self._path is None:
            return
        try:
            self._path.touch()
        except OSError as error:  # the health check fails then, and this line says why
            logger.warning("%s: %s; ENCORE_BEAT names a file that can be written", self._path, error.strerror)
