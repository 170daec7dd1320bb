"""The table of interventions for answers about carts: the settings' rules, with the effects measured by an A/B log."""

import logging
from pathlib import Path

import msgspec

from model.interventions import InterventionRule
from model.uplift import UpliftReport, with_measured

__all__ = ["InterventionTable"]

_log = logging.getLogger(__name__)


class InterventionTable:
    """Holds the rules, with the effects measured in the report at `path`. Newer rules take one assignment."""

    def __init__(self, assumed: tuple[InterventionRule, ...], path: Path) -> None:
        self._assumed = assumed
        self._path = path
        self._mark: tuple[int, int] | None = None
        self.rules = assumed
        """The rules in use."""
        self.report: UpliftReport | None = None
        """The measured effects; None without a report."""

    def refresh(self) -> None:
        """Read the report if it has changed. An unreadable one counts as absent, and is logged."""
        try:
            status = self._path.stat()
            if (mark := (status.st_mtime_ns, status.st_ino)) == self._mark:
                return
            self._mark = mark
            report = msgspec.json.decode(self._path.read_bytes(), type=UpliftReport)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("%s: not what `encore uplift` writes (%s); run it again", self._path, error)
            self.report, self.rules = None, self._assumed
            return
        self.report, self.rules = report, with_measured(self._assumed, report.measured)
