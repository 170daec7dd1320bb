"""Trying again what is unavailable, since a worker that cannot write waits, and never skips."""

import logging
import random
import threading
from collections.abc import Callable

from data.errors import FailedOverError, ForgottenError, UnavailableError

__all__ = ["patiently"]

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 1.0
"""Between two tries of something that is unavailable: what comes back is noticed within about as much."""


def _no_one(_: Exception) -> None:
    """Hear nothing."""


def patiently(
    action: Callable[[], object], stop: threading.Event, waits: Callable[[Exception], None] = _no_one
) -> bool:
    """Do `action`, again and again where something is unavailable, until it is done (True) or `stop` is set.

    `waits` hears what is waited for. Raises FailedOverError, where what was done before must be done again first, and
    ForgottenError, where somebody must bring back what was done before.
    """
    wait_s = 0.1
    while True:
        try:
            action()
        except (FailedOverError, ForgottenError):
            raise  # waiting does not help
        except (UnavailableError, OSError) as error:
            logger.warning("waiting: %s", error)
            waits(error)
            if stop.wait(wait_s * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                return False
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return True
