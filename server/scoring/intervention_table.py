"""The table of interventions that answers about carts follow: the settings' rules, and what an A/B log measured."""

import logging
from pathlib import Path

import msgspec

from model.interventions import InterventionRule
from model.uplift import UpliftReport, with_measured

__all__ = ["InterventionTable"]

_log = logging.getLogger(__name__)


class InterventionTable:
    """Holds the rules, with what the report at `path` has measured; a newer one replaces it in one assignment."""

    def __init__(self, assumed: tuple[InterventionRule, ...], path: Path) -> None:
        self._assumed = assumed
        self._path = path
        self._read: tuple[int, int] | None = None
        self.rules = assumed
        """The rules in use."""
        self.report: UpliftReport | None = None
        """What was measured; None without a log."""

    def refresh(self) -> None:
        """Read the report if it is another one. One that cannot be read is none, with a line in the log."""
        try:
            found = self._path.stat()
            if (read := (found.st_mtime_ns, found.st_ino)) == self._read:
                return
            self._read = read
            report = msgspec.json.decode(self._path.read_bytes(), type=UpliftReport)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("%s: not what `encore uplift` writes (%s); run it again", self._path, error)
            self.report, self.rules = None, self._assumed
            return
        self.report, self.rules = report, with_measured(self._assumed, report.measured)
