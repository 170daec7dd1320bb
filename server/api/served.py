"""The parts of a server, which depend on the live edition of the states, and are replaced when that changes.

A request keeps the parts as of its arrival (`server.api.parts`), so that its plan, states and models belong to one
edition, whatever goes live meanwhile.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import redis
from anyio.to_thread import run_sync
from starlette.datastructures import State

from data.clock import Clock
from data.errors import EncoreError, StateError, UnavailableError
from events.predictions.sink import Message, PredictionSink
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.editions.editions import Editions, Opened, editions_key
from features.state.editions.standing import Edition, live_edition
from features.state.online.states import OnlineStates
from model.targets import targets_of
from server.api.asgi.rate_limit import RateLimit
from server.api.parts import Parts
from server.api_keys import ApiKey, kept_key
from server.audit_log.changes import open_audit_log
from server.event_log import open_log
from server.jobs.audit import last_audit
from server.jobs.model_work import ModelWork
from server.jobs.modelling import open_published
from server.redis.connections import live_states
from server.redis.editions import editions_of
from server.redis.states import LiveStates
from server.redis.watch import Watch
from server.scoring.clock import LiveClock, choose_live_clock, told_by
from server.scoring.contenders import Models
from server.scoring.intervention_table import InterventionTable
from server.scoring.prediction_messages import Given, PredictionMessages, observer
from server.scoring.reader import Reader
from server.scoring.scoring import Scoring
from server.scoring.telemetry import Telemetry
from server.settings import Settings

__all__ = ["Served"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
"""Interval of checks for another live edition, s; an edition is kept for seconds after another went live."""

_DRAIN_S = 10.0
"""How long replaced parts are kept for pending requests, s."""


class _Answering(NamedTuple):
    """The parts that belong to one edition."""

    plan: Plan
    states: OnlineStates
    clock: LiveClock
    reader: Reader
    models: Models
    scoring: Scoring


class Served:
    """Creates and replaces the parts of a server, with a blocking Redis client. `clock` replaces the settings' clock.

    The registry is checked every `model_check_s` seconds for a new champion.
    """

    def __init__(
        self, settings: Settings, client: "redis.Redis", *, clock: Clock | None = None, model_check_s: float = 1.0
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._model_check_s = model_check_s
        self._editions: Editions = editions_of(client, settings)
        self._standing_bytes = b""
        self._registry = open_published(settings)
        self._telemetry = Telemetry(settings.shared_meters)
        self._table = InterventionTable(settings.intervention_rules, settings.quality / "uplift.json")
        self._messages: PredictionMessages | None = None
        self._sink = PredictionSink[Given](
            settings.kafka_servers, self._write, topic=settings.kafka_names.predictions, access=settings.kafka_access
        )
        self._tasks = set[asyncio.Task[None]]()

    @asynccontextmanager
    async def on(self, state: State) -> AsyncIterator[None]:
        """Keep the parts in `state.parts` during the block, replacing them whenever another edition goes live."""
        settings = self._settings
        edition = await run_sync(self._open)
        self._live = live_states(settings, edition)
        models = self._models(edition)
        answering = self._answering(edition, models)
        model_work = ModelWork(settings)
        with closing(live_states(settings)) as general:
            state.parts = Parts(
                **answering._asdict(),
                predictions=self._sink,
                telemetry=self._telemetry,
                watch=Watch(self._client, open_log(settings), settings.project, settings.declared.schema),
                last_audit=partial(last_audit, self._client, settings.project),
                rate_limit=RateLimit(general, settings.rate_limit, settings.project) if settings.rate_limit else None,
                registry=self._registry,
                home_key=None if settings.asks_who else await run_sync(_home_key, settings),
                model_work=model_work,
                audit_log=open_audit_log(settings),
                interventions=self._table,
            )
            await run_sync(models.watch, self._model_check_s, (self._table.refresh,))
            if settings.predictions_topic == "on":
                self._sink.start()
            watching = asyncio.create_task(self._watch(state, general, edition))
            try:
                yield
            finally:
                ending = [watching, *self._tasks]
                for task in ending:
                    task.cancel()
                await asyncio.gather(*ending, return_exceptions=True)
                await run_sync(model_work.close)
                await run_sync(self._sink.close)
                await run_sync(state.parts.models.close)
                self._live.close()

    def _open(self) -> Opened:
        """Return the live edition; if Redis does not say, the first edition with the present definitions."""
        try:
            self._standing_bytes = self._editions.stored()
            if (live := live_edition(self._standing_bytes)) is not None:
                return self._editions.open(live)
        except (UnavailableError, StateError) as error:
            self._standing_bytes = b""
            _log.warning("the edition of the states that answers is not known yet: %s", error)
        return self._editions.opened(Edition(), load_plan(self._settings.plan, self._settings.declared))

    async def _watch(self, state: State, general: LiveStates, edition: Opened) -> None:
        """Replace the parts when another edition is live, or the same states with another plan."""
        key, failed = editions_key(self._settings.project), b""
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(UnavailableError):
                standing_bytes: bytes | None = await general.run(key.encode(), "GET", key)
                if not standing_bytes or standing_bytes in {self._standing_bytes, failed}:
                    continue
                try:
                    live = live_edition(standing_bytes)
                    if live is not None and (live.id, live.plan) != (edition.id, edition.plan.hash):
                        edition = await self._turn_to(state, live)
                except EncoreError as error:
                    _log.error("the server goes on with the plan %s: %s", edition.plan.hash, error)
                    failed = b"" if isinstance(error, UnavailableError) else standing_bytes
                else:
                    self._standing_bytes = standing_bytes

    async def _turn_to(self, state: State, live: Edition) -> Opened:
        edition = await run_sync(self._editions.open, live)
        before: Parts = state.parts
        states, models = self._live, self._models(edition)
        # The models are loaded before any request uses them.
        await run_sync(models.watch, self._model_check_s, (self._table.refresh,))
        self._live = live_states(self._settings, edition)
        state.parts = replace(before, **self._answering(edition, models)._asdict())
        _log.info("plan %s answers, after %s", edition.plan.hash, before.plan.hash)
        for target in models.targets:
            if before.models.champion(target).serving and (refusal := models.champion(target).refusal):
                _log.warning("nobody answers about %s any more: %s", target, refusal)
        task = asyncio.create_task(_end(before, states))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return edition

    def _models(self, edition: Opened) -> Models:
        return Models(self._registry, tuple(targets_of(self._settings.declared)), edition.plan)

    def _answering(self, edition: Opened, models: Models) -> _Answering:
        live, telemetry = self._live, self._telemetry
        self._messages = PredictionMessages(models, edition.plan.schema)
        reader = Reader(edition.plan, live, telemetry, aside=live.set_aside)
        clock = told_by(self._clock) if self._clock else choose_live_clock(self._settings.clock, live)
        keeps_predictions = self._settings.predictions_topic == "on"
        observe = observer(self._sink, models) if keeps_predictions else None
        scoring = Scoring(reader, models, clock, telemetry=telemetry, observe=observe)
        return _Answering(edition.plan, edition.states, clock, reader, models, scoring)

    def _write(self, timed: Sequence[Given]) -> Iterable[Message]:
        return self._messages(timed) if self._messages else ()


async def _end(parts: Parts, states: LiveStates) -> None:
    """Close replaced parts after the requests that use them are answered."""
    try:
        await asyncio.sleep(_DRAIN_S)
    finally:
        states.close()
        await run_sync(parts.models.close)


def _home_key(settings: Settings) -> ApiKey | None:
    """Return the administrator's key for a server without keys; None if it cannot be written to the home."""
    try:
        return kept_key(settings.home_key, "home")
    except OSError as error:
        _log.warning("nobody can change models by this server: %s", error)
        return None
