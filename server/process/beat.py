"""A file that a part touches while it is well, for the health checks of containers: its age says all, at no cost."""

import logging
from pathlib import Path

__all__ = ["Beat"]

logger = logging.getLogger(__name__)


class Beat:
    """Touches a file each time it is called; does nothing where there is none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self) -> None:
        """Say that the part is well now."""
        if self._path is None:
            return
        try:
            self._path.touch()
        except OSError as error:  # whoever asks takes it for unwell, and then reads this
            logger.warning("%s: %s; ENCORE_BEAT names a file that can be written", self._path, error.strerror)
