"""The models that answer: a champion for each target, found by the target's name."""

from collections.abc import Mapping

from data.errors import EncoreError
from server.champion import Champion, Serving

__all__ = ["Models", "UnknownTargetError"]


class UnknownTargetError(EncoreError):
    """A target that this server does not answer about."""


class Models:
    """One champion per target. The first target is the one meant where none is named."""

    def __init__(self, champions: Mapping[str, Champion]) -> None:
        self._champions = dict(champions)
        self._default = next(iter(champions.values()))

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets' names."""
        return tuple(self._champions)

    def champion(self, target: str | None = None) -> Champion:
        """The champion of a target; UnknownTargetError, naming those there are, where it is none of them."""
        if target is None:
            return self._default
        try:
            return self._champions[target]
        except KeyError:
            raise UnknownTargetError(
                f"target {target!r} is not served here; there are {', '.join(self._champions)}"
            ) from None

    def get(self, target: str | None = None) -> Serving:
        """The model in use; UnavailableError, saying what to do, when there is none."""
        return self.champion(target).get()

    def watch(self, every_s: float = 1.0) -> None:
        """Take the registry's champions now, and newer ones in the background until `close`."""
        for champion in self._champions.values():
            champion.watch(every_s)

    def close(self) -> None:
        """Stop watching."""
        for champion in self._champions.values():
            champion.close()
