"""Whether the store holds the states that a worker folds into; the worker stands still while it does not.

Forgotten states are waited for until the store holds them again, states of other definitions until others are live
(`events.stream.editions`). States that were rebuilt meanwhile are not waited for: the worker reads again from the
committed offsets, since they hold what is in the log, and not what it has folded and not logged.
"""

import logging
from collections.abc import Callable

from data.errors import EncoreError, ForgottenError, LayoutError, RemadeError, UnavailableError
from features.state.online.states import OnlineStates
from features.state.states import States

__all__ = ["LOST_FOOTING", "Footing"]

logger = logging.getLogger(__name__)

LOST_FOOTING = (ForgottenError, LayoutError, RemadeError)
"""Errors after which nothing may be folded into the states before all that is not committed is read again."""


class Footing:
    """The footing of a session. `waits` is called with what it stands still for. Without an inventory it is firm."""

    def __init__(self, states: States, waits: Callable[[Exception], None]) -> None:
        self._inventory = states.inventory if isinstance(states, OnlineStates) and states.guarded else None
        self._waits = waits
        self._lost: EncoreError | None = None

    def begin(self, *, done: bool) -> None:
        """Begin an inventory where nothing was ever folded; `done` says that something was."""
        if self._inventory is not None:
            self._inventory.begin(done=done)

    def require(self) -> None:
        """Raise one of `LOST_FOOTING` where what was folded is not in the present states.

        To be called between log and commit: states that are rebuilt after this hold what is in the log.
        """
        if self._inventory is not None:
            self._inventory.require_revision()

    def lose(self, error: EncoreError) -> None:
        """Stop folding what is held. Raises the error where nothing can heal it."""
        if self._inventory is None:
            raise error
        if isinstance(error, RemadeError):
            logger.info("%s; what is not committed is read again", error)
        else:
            logger.error("stands still: %s", error)
        self._lost = error

    def is_firm(self) -> bool:
        """Return whether the worker may fold; notices what has healed."""
        if self._lost is None or self._inventory is None:
            return True
        try:
            if isinstance(self._lost, LayoutError):
                raise self._lost
            self._inventory.begin(done=True)
        except (UnavailableError, LayoutError) as error:
            self._waits(error)
            return False
        self._inventory.forget_revision()
        if not isinstance(self._lost, RemadeError):
            logger.warning("goes on: the store holds its states again")
        self._lost = None
        return True
