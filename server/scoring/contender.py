"""A model in use: champion or challenger of a target, replaced while the server runs as aliases move."""

import logging
from typing import NamedTuple

from data.errors import EncoreError, ModelError, UnavailableError
from events.predictions.message import Role
from features.plan.plan import Plan
from model.artifact.predictor import Predictor
from model.registry.published import CHALLENGER, Registry
from server.scoring.inputs import Inputs

__all__ = ["Champion", "Serving"]

_log = logging.getLogger(__name__)


class Serving(NamedTuple):
    """A model in use, and the function that computes its inputs."""

    predictor: Predictor
    inputs: Inputs
    role: Role = "champion"


class Champion:
    """Holds the model in use. Reading takes no lock: a newer model replaces it in one assignment.

    A champion that cannot be used is refused and logged, and the previous one stays in use. In the role `challenger`,
    there is no model if the registry has no challenger.
    """

    def __init__(self, registry: Registry, target: str, plan: Plan, role: Role = "champion") -> None:
        self._registry = registry
        self._target = target
        self._plan = plan
        self._role = role
        self.serving: Serving | None = None
        """The model in use, if there is one."""
        self.refusal = ""
        """Why the registry's model is not the model in use; empty when it is."""
        self.share = 0.0
        """The challenger's share of users, 0 to 1."""

    def get(self) -> Serving:
        """Return the model in use. Raises UnavailableError, saying what to do, when there is none."""
        serving = self.serving
        if serving is None:
            raise UnavailableError(
                f"no model is loaded; run `encore train --target {self._target}`, and the server picks the model up by "
                f"itself ({self.refusal or 'the server is starting'})"
            )
        return serving

    def refresh(self) -> bool:
        """Load the registry's model if it is a different one; return whether the model in use changed."""
        try:
            version, self.share = self._registry.resolve_share(self._target, self._role)
            if self.serving is not None and self.serving.predictor.version == version:
                self.refusal = ""
                return False
            serving = self._prepare(Predictor(self._registry.load(self._target, version)))
        except (EncoreError, OSError, UnicodeDecodeError) as error:
            return self._refuse(error)
        self.serving, self.refusal = serving, ""
        _log.info("model %s %s is %s", self._target, version, self._role)
        return True

    def _refuse(self, error: Exception) -> bool:
        is_named = self._registry.names(self._target, self._role)
        if self._role == CHALLENGER and not is_named:
            was_in_use, self.serving, self.refusal = self.serving is not None, None, ""
            return was_in_use
        if str(error) != self.refusal:
            self.refusal = str(error)
            # A target without a model deserves no warning until it is requested.
            level = logging.WARNING if is_named or self.serving is not None else logging.INFO
            _log.log(level, "the %s cannot be used: %s; %s", self._role, error, self._fallback())
        return False

    def _fallback(self) -> str:
        serving = self.serving
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
        return Serving(predictor, Inputs(self._plan, predictor.features), self._role)
