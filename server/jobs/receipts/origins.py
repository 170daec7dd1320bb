"""The origins of an answer, found by the hashes in its receipt: plan, model, and the states that were read."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

from data.errors import DataError, EncoreError, StateError
from data.log.event_log import EventLog
from events.predictions.message import Receipt
from features.past.past import Past
from features.plan.cache import earlier_plan
from features.plan.plan import Plan
from features.state.algebra import State
from features.state.editions.standing import Edition
from features.state.fence import Fence
from features.state.states import EntityKey
from features.state.values import EntityValues, Value
from model.artifact.artifact import Artifact
from model.artifact.predictor import Predictor
from model.registry.local_database import local_database
from model.rows import float32_rows
from server.jobs.modelling import open_tracking
from server.jobs.receipts.answered import Answered
from server.published import open_registry
from server.redis.connections import connect_redis
from server.redis.editions import editions_of
from server.scoring.inputs import Inputs
from server.settings import Settings
from server.storage import log_storage

__all__ = ["Origins", "Then", "Traced", "read_past", "scores_of"]

_T = TypeVar("_T")


class Traced(NamedTuple):
    """An answer and its origins, with the entities that were read (`keys`) and their fences (None: no events)."""

    answered: Answered
    receipt: Receipt
    plan: Plan
    predictor: Predictor
    inputs: Inputs
    keys: tuple[EntityKey, ...]
    fences: tuple[Fence | None, ...]

    def values(self, states: Sequence[State | None]) -> tuple[Value, ...]:
        """Return the model's inputs, in its order, computed from these states of the entities."""
        at_us = self.answered.at_us
        values = self.inputs.of_entities([Then(state) for state in states], at_us)
        return self.inputs.of_question(values, self.receipt.measures, at_us)

    def states(self, past: Past) -> list[State | None]:
        """Return the states that were read, recomputed from the log."""
        return [
            None if fence is None else past.state(key, fence) for key, fence in zip(self.keys, self.fences, strict=True)
        ]


class Origins:
    """Finds plans and models by their hashes, reading each only once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = open_registry(settings)
        self._cache: dict[tuple[str, ...], Any] = {}

    def trace(self, answered: Answered) -> Traced:
        """Return the origins of an answer. Raises DataError, naming what is missing."""
        receipt = answered.receipt
        if receipt is None:
            raise DataError("it has no receipt: an earlier Encore answered")
        plan = self._once(("plan", receipt.plan), lambda: self._plan(receipt.plan))
        model = ("model", answered.target, answered.model, receipt.sha256)
        predictor = self._once(model, lambda: self._predictor(answered, receipt.sha256))
        inputs = self._once((*model, receipt.plan), lambda: Inputs(plan, predictor.features))
        if inputs.entities != receipt.entities or set(plan.schema.asked_keys) - answered.named.keys():
            raise DataError("it asked about other things than the project's schema and its model do")
        try:
            fences = tuple(Fence.decode(fence) if fence else None for fence in receipt.fences)
        except StateError as error:
            raise DataError(f"a fence that was read cannot be decoded: {error}") from error
        return Traced(answered, receipt, plan, predictor, inputs, inputs.keys_of(answered.named), fences)

    def trace_all(self, answers: Iterable[Answered]) -> tuple[list[Traced], dict[str, str]]:
        """Return the origins of answers, and the reasons, by id, for those with something missing."""
        traced, missing = [], {}
        for answered in answers:
            try:
                traced.append(self.trace(answered))
            except DataError as error:
                missing[answered.id] = str(error)
        return traced, missing

    def _once(self, key: tuple[str, ...], find: Callable[[], _T]) -> _T:
        if key not in self._cache:
            try:
                self._cache[key] = find()
            except DataError as error:
                self._cache[key] = error
        cached = self._cache[key]
        if isinstance(cached, DataError):
            raise cached
        return cast("_T", cached)

    def _plan(self, plan_hash: str) -> Plan:
        plan = earlier_plan(self._settings.plan, plan_hash)
        if plan is not None:
            return plan
        with suppress(EncoreError), connect_redis(self._settings) as client:
            return editions_of(client, self._settings).plan(Edition("", plan_hash))
        raise DataError(
            f"its plan {plan_hash} is gone: neither {self._settings.plans} nor Redis has it; restore that folder "
            "from a copy, or check out the definitions of then and run `encore features`"
        )

    def _predictor(self, answered: Answered, sha256: str) -> Predictor:
        artifact = self._artifact(answered)
        if artifact is None or artifact.sha256 != sha256:
            what = "is gone" if artifact is None else f"has the sha256 {artifact.sha256} now, and had {sha256}"
            raise DataError(
                f"its model {answered.target} {answered.model} {what}; restore {self._settings.models}, or MLflow's "
                "artifacts, from a copy"
            )
        return Predictor(artifact)

    def _artifact(self, answered: Answered) -> Artifact | None:
        with suppress(EncoreError):
            return self._registry.read(answered.target, answered.model)
        database = local_database(self._settings.tracking_uri)
        if database is not None and not database.exists():
            return None
        with suppress(EncoreError):
            tracking = open_tracking(self._settings)
            if tracking.exists():
                return tracking.artifact(tracking.find(answered.target, answered.model))
        return None


class Then:
    """An entity with a past state; its values are as of no earlier time than `floor_us`."""

    def __init__(self, state: State | None, floor_us: int = 0) -> None:
        self._state = state
        self._floor_us = floor_us

    def values(self, at_us: int, of: EntityValues) -> tuple[Value, ...]:
        """Return its features as of a time, µs."""
        return of.get(self._state, max(at_us, self._floor_us))


def read_past(
    settings: Settings, traced: Iterable[Traced], *, listed: bool = False, later: bool = False
) -> dict[str, Past]:
    """Return the pasts of all entities that these answers read, by plan hash; arguments as for `Past`."""
    plans: dict[str, Plan] = {}
    reads: dict[str, dict[EntityKey, list[Fence]]] = defaultdict(lambda: defaultdict(list))
    for origin in traced:
        plans[origin.receipt.plan] = origin.plan
        for key, fence in zip(origin.keys, origin.fences, strict=True):
            reads[origin.receipt.plan][key] += [] if fence is None else [fence]
    return {
        name: Past(plan, EventLog(log_storage(settings), plan.schema), reads[name], listed=listed, later=later)
        for name, plan in plans.items()
    }


def scores_of(traced: Sequence[Traced], values: Sequence[tuple[Value, ...]]) -> list[float]:
    """Return the models' scores of these inputs, with one call per model."""
    groups: dict[Predictor, list[int]] = defaultdict(list)
    for place, origin in enumerate(traced):
        groups[origin.predictor].append(place)
    scores = [0.0] * len(traced)
    for predictor, places in groups.items():
        model_scores = predictor.score(float32_rows([values[place] for place in places]))
        for place, score in zip(places, model_scores.tolist(), strict=True):
            scores[place] = score
    return scores
