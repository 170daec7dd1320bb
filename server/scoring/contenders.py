"""The models in use: each target's champion, and its challenger for a share of the users."""

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
    """Return whether the challenger answers a user: the same users for a given share.

    The users of a share belong to every larger share too; targets draw independently.
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
        """Return the champion of a target. Raises UnknownTargetError, which lists the targets."""
        return self._champions[self._served(target)]

    def challenger(self, target: str | None = None) -> Champion:
        """Return the challenger of a target. Raises as `champion` does."""
        return self._challengers[self._served(target)]

    @property
    def has_challenger(self) -> bool:
        """Whether any target has a challenger."""
        return any(challenger.serving is not None for challenger in self._challengers.values())

    def get(self, target: str | None = None) -> Serving:
        """Return the champion in use. Raises UnavailableError, saying what to do, when there is none."""
        return self.champion(target).get()

    def choose(self, target: str | None, user_ids: Sequence[str]) -> list[Serving]:
        """Return the model for each user: the champion, or the challenger for its share."""
        target = self._served(target)
        challenger, champion = self._challengers[target], self._champions[target].get()
        challenger_serving, share = challenger.serving, challenger.share
        if challenger_serving is None or not share:
            return [champion] * len(user_ids)
        return [challenger_serving if is_in_share(target, user_id, share) else champion for user_id in user_ids]

    def refresh(self) -> None:
        """Load the registry's present models."""
        for contender in (*self._champions.values(), *self._challengers.values()):
            try:
                contender.refresh()
            except Exception:  # noqa: BLE001 - the thread must survive any content of a model's file
                _log.exception("a model could not be checked")
        for refresh in self._also:
            refresh()

    def watch(self, every_s: float = 1.0, also: Sequence[Callable[[], None]] = ()) -> None:
        """Refresh the models, and call the functions in `also`, now and every `every_s` seconds until `close`."""
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

    def _served(self, target: str | None) -> str:
        if target is None:
            return self._default
        if target not in self._champions:
            targets = ", ".join(self._champions)
            raise UnknownTargetError(f"target {target!r} is not served here; there are {targets}")
        return target
