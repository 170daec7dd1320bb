"""The model that answers: the registry's champion, replaced while the server runs when another is promoted."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from data.errors import EncoreError, ModelError, UnavailableError
from features.plan import Plan
from features.values import Value, picker
from model.predictor import Predictor
from model.registry import Registry

__all__ = ["Champion", "Serving"]

_log = logging.getLogger(__name__)


_Pick = Callable[[tuple[Value, ...]], tuple[Value, ...]]


class Serving(NamedTuple):
    """A model in use, and how to pick its inputs, in its order, from all values in the plan's order."""

    predictor: Predictor
    pick: _Pick


class Champion:
    """Holds the model in use. Reading it takes no lock: a newer one is put in its place in one step.

    A champion that cannot be used is refused, with a line in the log, and the one before goes on answering.
    """

    def __init__(self, registry: Registry, target: str, plan: Plan) -> None:
        self._registry = registry
        self._target = target
        self._plan = plan
        self._serving: Serving | None = None
        self._refusal = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def refusal(self) -> str:
        """Why the registry's champion is not the model in use; empty when it is."""
        return self._refusal

    def get(self) -> Serving:
        """The model in use; UnavailableError, saying what to do, when there is none."""
        serving = self._serving
        if serving is None:
            raise UnavailableError(
                "no model is loaded; run `encore train`, and the server picks the model up by itself "
                f"({self._refusal or 'the server is starting'})"
            )
        return serving

    def refresh(self) -> bool:
        """Take the registry's champion if it is another one; whether the model in use changed."""
        try:
            version = self._registry.resolve(self._target)
            if self._serving is not None and self._serving.predictor.version == version:
                self._refusal = ""
                return False
            serving = self._prepare(Predictor(self._registry.load(self._target, version)))
        except (EncoreError, OSError) as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                _log.warning("the champion cannot be used: %s; %s", error, self._fallback())
            return False
        self._serving, self._refusal = serving, ""
        _log.info("model %s %s answers", self._target, version)
        return True

    def watch(self, every_s: float = 1.0) -> None:
        """Refresh now, and then in the background until `close`."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, args=(every_s,), name="champion", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.refresh()
            except Exception:  # noqa: BLE001 - the watch must outlive whatever a model's file can hold
                _log.exception("the champion could not be looked up; %s", self._fallback())

    def _fallback(self) -> str:
        serving = self._serving
        return f"{serving.predictor.version} goes on answering" if serving else "there is no model"

    def _prepare(self, predictor: Predictor) -> Serving:
        absent = sorted(set(predictor.features).difference(self._plan.names))
        trained = predictor.metadata.feature_plan
        if absent:
            raise ModelError(
                f"model {self._target} {predictor.version}: it needs {', '.join(absent)}, which the plan in use "
                f"({self._plan.hash}; the model's: {trained}) does not have; train again, or serve the definitions "
                "that it was trained with"
            )
        if trained != self._plan.hash:
            _log.warning(
                "model %s %s was trained under plan %s and is served under %s: a feature of the same name may mean "
                "something else; train again",
                self._target,
                predictor.version,
                trained,
                self._plan.hash,
            )
        return Serving(predictor, _pick(predictor.features, self._plan.names))


def _pick(wanted: tuple[str, ...], names: tuple[str, ...]) -> _Pick:
    return tuple if wanted == names else picker([names.index(name) for name in wanted])
