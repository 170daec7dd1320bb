"""Retry an action while something is unavailable: a worker that cannot write waits, and never skips."""

import logging
import threading
from collections.abc import Callable

from data.errors import FailedOverError, ForgottenError, RemadeError, UnavailableError
from data.jitter import jitter

__all__ = ["no_one", "patiently"]

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 1.0
"""Longest wait between two attempts, and so about how late a recovery is noticed."""


def no_one(_: Exception) -> None:
    """Ignore an error."""


def patiently(action: Callable[[], object], stop: threading.Event, waits: Callable[[Exception], None] = no_one) -> bool:
    """Retry `action` while something is unavailable. Returns True when it is done, False when `stop` is set.

    `waits` is called with every error that is waited for. Raises FailedOverError and RemadeError, since then earlier
    work must be done again first, and ForgottenError, since then somebody must restore it.
    """
    wait_s = 0.1
    while True:
        try:
            action()
        except (FailedOverError, ForgottenError, RemadeError):
            raise  # waiting does not help
        except (UnavailableError, OSError) as error:
            logger.warning("waiting: %s", error)
            waits(error)
            if stop.wait(wait_s * jitter(0.5, 1.5)):
                return False
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return True
