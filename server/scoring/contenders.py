"""The models that answer: of each target the champion, and the challenger for its share of the users."""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence

from data.errors import UnknownTargetError
from features.plan.plan import Plan
from model.registry.published import Registry
from server.scoring.contender import Champion, Serving

__all__ = ["Models", "is_in_share"]

_log = logging.getLogger(__name__)


def is_in_share(target: str, user_id: str, share: float) -> bool:
    """Return whether the challenger answers a user: always the same users for a share.

    A user of a small share belongs to every larger one too, and each target draws its own.
    """
    digest = hashlib.blake2b(user_id.encode("utf-8", "replace"), digest_size=8, key=target.encode()[:64]).digest()
    return int.from_bytes(digest) < share * 2**64


class Models:
    """A champion and a challenger per target. The first target is the default."""

    def __init__(self, registry: Registry, targets: Sequence[str], plan: Plan) -> None:
        self._champions = {target: Champion(registry, target, plan) for target in targets}
        self._challengers = {target: Champion(registry, target, plan, "challenger") for target in targets}
        self._default = targets[0]
        self._also: Sequence[Callable[[], None]] = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self._champions)

    def champion(self, target: str | None = None) -> Champion:
        """Return the champion of a target. Raises UnknownTargetError, naming those that exist."""
        return self._champions[self._known(target)]

    def challenger(self, target: str | None = None) -> Champion:
        """Return the challenger of a target, as `champion`."""
        return self._challengers[self._known(target)]

    @property
    def has_challenger(self) -> bool:
        """Whether any target has one."""
        return any(challenger.serving is not None for challenger in self._challengers.values())

    def get(self, target: str | None = None) -> Serving:
        """Return the champion in use. Raises UnavailableError, saying what to do, when there is none."""
        return self.champion(target).get()

    def choose(self, target: str | None, asked: Sequence[str]) -> list[Serving]:
        """Return the model for each whom a question is about (users): the champion, or the challenger for its share."""
        target = self._known(target)
        challenger, champion = self._challengers[target], self._champions[target].get()
        other, share = challenger.serving, challenger.share
        if other is None or not share:
            return [champion] * len(asked)
        return [other if is_in_share(target, one, share) else champion for one in asked]

    def refresh(self) -> None:
        """Load what the registry names now."""
        for contender in (*self._champions.values(), *self._challengers.values()):
            try:
                contender.refresh()
            except Exception:  # noqa: BLE001 - the watch must outlive whatever a model's file can hold
                _log.exception("a model could not be checked")
        for refresh in self._also:
            refresh()

    def watch(self, every_s: float = 1.0, also: Sequence[Callable[[], None]] = ()) -> None:
        """Refresh now, and then in the background until `close`; so is what `also` refreshes."""
        self._also = also
        self.refresh()
        self._thread = threading.Thread(target=self._watch, args=(every_s,), name="models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            self.refresh()

    def _known(self, target: str | None) -> str:
        if target is None:
            return self._default
        if target not in self._champions:
            there = ", ".join(self._champions)
            raise UnknownTargetError(f"target {target!r} is not served here; there are {there}")
        return target
