"""`encore rollout`: states by other definitions, or the same ones, take the place of those that answer.

    building    fold the log into another edition of the states        workers and API go on with the live one
    following   fold what came into the log meanwhile; workers fold into both from there on
                compare a sample of both with batch
    switched    the other edition is live, and the one before is kept and followed:  back ─ they change places
    dropping    delete it                                                            finish

What stands is in Redis, so whoever is killed leaves a system that goes on as it was; the next `encore rollout` goes on
from there, or, where the definitions are others by now, begins again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from data.clock import wall_clock
from data.errors import ConfigurationError, DataError, EncoreError, StateError, UnavailableError
from data.log.event_log import EventLog
from data.units import MICROS
from events.stream.heartbeat import WorkerStatus
from features.plan.cache import kept_plan, load_plan
from features.plan.plan import Plan
from features.state.editions.editions import Editions, Opened
from features.state.editions.standing import Edition, Stage, Standing
from server.event_log import open_batch
from server.jobs.feast_repo import apply_views, is_applied
from server.jobs.rollout.ground import Ground
from server.jobs.rollout.lease import Lease, Step, held, last_step
from server.jobs.rollout.models import refused_models
from server.redis.connections import connect_redis, heartbeats_of
from server.redis.editions import editions_of, fits, let_live, lives_of
from server.redis.mark import Mark, made_of
from server.settings import Settings

if TYPE_CHECKING:
    from features.verify.verification import Verdict

__all__ = ["RolledOut", "RolloutStatus", "finish_rollout", "go_back", "rebuild", "roll_out", "rollout_status"]

Tell = Callable[[str], None]

_SMALL = 20_000
"""Offsets that workers may be left to fold from the log: a second's work."""

_SETTLES_S = 5.0
"""How long an edition is kept after another went live: readers look every half second."""

_LOOK_S = 0.2
_PATIENCE_S = 30.0
"""How long workers that live have to notice what was moved."""

_SAMPLE = 20
_SEEDS = 5


class RolledOut(NamedTuple):
    """The plans before and after, states by entity, whether states were made, and how long it took."""

    before: str
    after: str
    states: dict[str, int]
    made: bool
    stage: Stage
    seconds: float


class RolloutStatus(NamedTuple):
    """Which editions there are, what is being done now (None: nothing), and what workers fold into."""

    standing: Standing | None
    step: Step | None
    remaining_s: float | None
    workers: list[WorkerStatus]

    @property
    def interrupted(self) -> bool:
        """Whether a rollout began, did not end, and nobody is at it."""
        return (
            self.step is None
            and self.standing is not None
            and self.standing.stage in {"building", "following", "dropping"}
        )


def roll_out(
    settings: Settings, tell: Tell, *, anew: bool = False, finish: bool = False, force: bool = False
) -> RolledOut:
    """Bring the present definitions to where they answer, without a cold answer.

    `anew` makes states even where those that answer are of these definitions; `finish` deletes the others at once;
    `force` lets a model go that has no place in the new definitions. All that is needed is looked at first. Raises,
    with everything as it was, DefinitionError, DataError for a log with a hole, ConfigurationError, UnavailableError.
    """
    kept = kept_plan(settings.plan)
    tell("compiling the definitions")
    plan = load_plan(settings.plan, settings.declared)
    with _lease(settings, tell) as (ground, lease):
        rollout = _Rollout(ground, lease, tell, plan)
        return rollout.run(kept, anew=anew, finish=finish, force=force)


def rebuild(settings: Settings, tell: Tell) -> dict[str, int]:
    """Make every state anew from the event log, beside those that answer, which are deleted then."""
    return roll_out(settings, tell, anew=True, finish=True).states


def finish_rollout(settings: Settings, tell: Tell) -> int:
    """Delete the edition of the states that was live before; return the number of its states."""
    with _lease(settings, tell) as (ground, lease):
        standing = ground.editions.read()
        if standing is None or standing.other is None:
            raise ConfigurationError("there is no rollout to finish: the states that answer are the only ones")
        if standing.stage in {"building", "following"}:
            raise ConfigurationError(
                "the rollout has not switched yet: `encore rollout` brings it to its end, `encore rollout back` ends it"
            )
        return _Drop(ground, lease, tell).run(standing)


def go_back(settings: Settings, tell: Tell) -> Standing:
    """Let the edition answer that was live before; before the switch, give the new one up.

    Raises ConfigurationError where there is none: after `finish_rollout` it is gone.
    """
    with _lease(settings, tell) as (ground, lease):
        standing = ground.editions.read()
        if standing is None or standing.other is None or standing.stage == "dropping":
            raise ConfigurationError(
                "there is nothing to go back to: the states of the definitions before are deleted (`encore rollout "
                "finish`); bring the definitions back, and run `encore rollout`"
            )
        if standing.stage != "switched":
            _Drop(ground, lease, tell).run(standing)
        elif not standing.other.plan:
            raise ConfigurationError(
                "the states before are of an older Encore, which alone reads and folds them; the way back is `encore "
                "restore`, and `encore rollout finish` deletes them"
            )
        else:
            other = ground.editions.open(standing.other)
            _Follow(ground, lease, tell).run(standing, other)
            ground.replication.confirm()
            back = Standing(standing.other, standing.live, "switched", wall_clock())
            _switch(ground, tell, standing, back, other.plan)
            _Follow(ground, lease, tell).await_live(back)
        found = ground.editions.read()
        assert found is not None  # noqa: S101 - it was there
        return found


def rollout_status(settings: Settings) -> RolloutStatus:
    """Return how a rollout is."""
    with connect_redis(settings) as client:
        step = last_step(client, settings.project)
        standing = editions_of(client, settings).read()
        workers = heartbeats_of(client, settings).all()
    return RolloutStatus(standing, step, step.remaining_s(wall_clock()) if step else None, workers)


@contextmanager
def _lease(settings: Settings, tell: Tell) -> Iterator[tuple[Ground, Lease]]:
    ground = Ground(settings, tell)
    with held(ground.client, ground.settings.project) as lease, closing(ground):
        yield ground, lease


def _switch(ground: Ground, tell: Tell, before: Standing, after: Standing, plan: Plan) -> Standing:
    """Let another edition answer, and Feast's registry say what it has."""
    if not is_applied(ground.settings, plan):
        tell("registering the views with Feast")
        apply_views(ground.settings, plan)
    return ground.editions.move(before, after)


class _Rollout:
    """One rollout to a plan."""

    def __init__(self, ground: Ground, lease: Lease, tell: Tell, plan: Plan) -> None:
        self._ground = ground
        self._lease = lease
        self._tell = tell
        self._plan = plan
        self._editions: Editions = ground.editions
        self._began_s = time.monotonic()
        self._made_of = made_of(ground.settings, plan)

    def run(self, kept: Plan | None, *, anew: bool, finish: bool, force: bool) -> RolledOut:
        standing = self._ready(kept, finish=finish)
        before = standing.live
        lives_of(self._plan, self._ground.settings)  # which refuses what cannot be
        mark = self._mark(before).read()
        if standing.other is None and not anew and mark == self._made_of:
            return self._without_states(standing, force=force)
        if not force:
            refused_models(self._ground.settings, self._plan, self._editions, before)
        other = self._begun(standing)
        standing = self._made(other)
        opened = self._editions.open(other)
        _Follow(self._ground, self._lease, self._tell).run(standing, opened)
        self._compare(standing, opened)
        self._ground.replication.confirm()
        self._mark(other).write(self._made_of)
        after = Standing(other, before, "switched", wall_clock())
        standing = _switch(self._ground, self._tell, standing, after, self._plan)
        self._tell(f"plan {self._plan.hash} answers")
        _Follow(self._ground, self._lease, self._tell).await_live(standing)
        if finish:
            _Drop(self._ground, self._lease, self._tell).run(standing)
        return self._outcome(before, made=True)

    def _ready(self, kept: Plan | None, *, finish: bool) -> Standing:
        """Return what stands, with nothing left of another rollout that must be gone before this one."""
        drop = _Drop(self._ground, self._lease, self._tell)
        standing = self._standing(kept)
        if standing.stage == "switched" and not finish:
            raise ConfigurationError(
                "the rollout before is not finished: the states of the definitions before are kept; `encore rollout "
                "finish` deletes them, `encore rollout back` lets them answer again. Nothing was changed"
            )
        if standing.stage in {"switched", "dropping"}:
            drop.run(standing)
        elif standing.other is not None and standing.other.plan != self._plan.hash:
            self._tell("a rollout to other definitions had begun, and is given up")
            drop.run(standing)
        return self._standing(kept)

    def _standing(self, kept: Plan | None) -> Standing:
        """Return what stands; where nobody said so, the first edition is live, by the kept plan, if it fits."""
        try:
            found = self._editions.read()
        except StateError as error:
            self._tell(str(error))
            found = None
        if found is not None:
            return found
        mark = self._mark(Edition()).read()
        plan = next((one for one in (kept, self._plan) if one is not None and fits(mark, one)), None)
        if plan is not None:
            self._editions.keep(plan)
        return self._editions.put(Standing(Edition("", plan.hash if plan else "")))

    def _without_states(self, standing: Standing, *, force: bool) -> RolledOut:
        """Let definitions answer whose states are those that there are."""
        before = standing.live
        if before.plan != self._plan.hash:
            if not force:
                refused_models(self._ground.settings, self._plan, self._editions, before)
            self._editions.keep(self._plan)
            live = Edition(before.id, self._plan.hash)
            _switch(self._ground, self._tell, standing, Standing(live, since_us=wall_clock()), self._plan)
        return self._outcome(before, made=False)

    def _begun(self, standing: Standing) -> Edition:
        """Return the edition to be made, that of an interrupted rollout to the same plan, if there is one."""
        self._lease.say("looks whether there is room")
        self._wanted = self._ground.entities(self._plan)
        if standing.other is None:
            self._ground.require_memory(self._wanted, beside=True)
            self._require_partitions(standing.live)
            standing = self._editions.move(
                standing, Standing(standing.live, self._editions.new(self._plan), "building", standing.since_us)
            )
        assert standing.other is not None  # noqa: S101 - as it was made
        let_live(self._editions.opened(standing.other, self._plan), self._ground.settings)
        return standing.other

    def _require_partitions(self, live: Edition) -> None:
        from features.batch.materializer import require_partitions  # noqa: PLC0415 - it imports DuckDB

        declared = self._ground.settings.declared.schema
        schema = self._editions.plan(live).schema if live.plan else declared
        require_partitions(self._editions.states(live, schema), EventLog(self._ground.log.storage, schema))

    def _made(self, other: Edition) -> Standing:
        """Make the edition from the log, where it is not yet, and let workers follow it."""
        from features.batch.edition import build_edition, catch_up, lacking  # noqa: PLC0415 - it imports DuckDB

        standing = self._current()
        opened = self._editions.open(other)
        if standing.stage == "following":
            try:
                lacking(opened, self._ground.log)
            except DataError as error:
                self._tell(f"{error}; it is made again")
                standing = self._move(standing, "building")
            else:
                return standing
        total = sum(self._wanted.values())
        self._tell(f"making {total:,} states beside those that answer")
        build_edition(
            opened,
            self._ground.log,
            source=lambda: self._ground.source(self._plan),
            progress=lambda done: self._lease.say("makes states from the event log", done, total),
            write=self._ground.writing(opened),
        )
        left = -1
        while (size := sum(map(len, lacking(opened, self._ground.log).values()))) > _SMALL and size != left:
            self._lease.say("folds what came meanwhile", 0, size)
            left = size
            catch_up(opened, self._ground.log)
        self._ground.replication.confirm()
        return self._move(standing, "following")

    def _compare(self, standing: Standing, opened: Opened) -> None:
        """Compare a sample of both editions with batch; only the new one must agree."""
        self._lease.say("compares a sample of both")
        define = self._ground.settings.declared.declared("features", "define")
        for seed in range(_SEEDS):
            verdict = self._verdict(opened, seed, define)
            if verdict.disagreements:
                said = "; ".join(" ".join(map(str, one)) for one in verdict.disagreements[:3])
                raise DataError(
                    f"rollout: {len(verdict.disagreements):,} values of the new states differ from what the event log "
                    f"says ({said}); the old ones go on answering. `encore rollout back` gives the new ones up"
                )
            if any(verdict.compared.values()) or not verdict.entities + verdict.moved:
                self._tell(f"{sum(verdict.compared.values()):,} values compared, all equal")
                break
        try:
            old = self._verdict(self._editions.open(standing.live), 0, None)
        except EncoreError as error:
            self._tell(f"the states before cannot be compared: {error}")
            return
        if old.disagreements:
            self._tell(f"{len(old.disagreements):,} values of the states before differ from what the event log says")

    def _verdict(self, opened: Opened, seed: int, define: object) -> "Verdict":
        from features.verify.verification import verify  # noqa: PLC0415 - it imports Featuretools

        now_us = max(wall_clock(), opened.states.newest_event() or 0)
        with open_batch(self._ground.settings) as engine:
            return verify(
                opened.plan,
                engine,
                opened.states,
                None,
                sample=_SAMPLE,
                at_us=now_us,
                seed=seed,
                definitions=define,  # type: ignore[arg-type]
            )

    def _outcome(self, before: Edition, *, made: bool) -> RolledOut:
        standing = self._current()
        counts = self._editions.states(standing.live, self._plan.schema).counts()
        seconds = time.monotonic() - self._began_s
        return RolledOut(before.plan, self._plan.hash, counts, made, standing.stage, round(seconds, 1))

    def _current(self) -> Standing:
        found = self._editions.read()
        if found is None:
            raise UnavailableError("Redis has forgotten the rollout: it was emptied; run this again")
        return found

    def _move(self, standing: Standing, stage: Stage) -> Standing:
        return self._editions.move(standing, msgspec.structs.replace(standing, stage=stage))

    def _mark(self, edition: Edition) -> Mark:
        return Mark(self._ground.client, edition.space(self._editions.project))


class _Follow:
    """Waits for workers; where there are none, folds for them what is in the log."""

    def __init__(self, ground: Ground, lease: Lease, tell: Tell) -> None:
        self._ground = ground
        self._lease = lease
        self._tell = tell

    def run(self, standing: Standing, other: Opened) -> None:
        """Return when all that is in the live edition is in the other, and will be."""
        from features.batch.edition import catch_up, lacking  # noqa: PLC0415 - it imports DuckDB

        told = ""
        while True:
            workers = self._ground.heartbeats.all()
            waiting = [w.worker for w in workers if (w.edition, w.follows) != (standing.live.id, other.id)]
            if workers and not waiting:
                return
            if not workers:
                self._lease.say("folds what came meanwhile")
                catch_up(other, self._ground.log)
                if not lacking(other, self._ground.log) and not self._ground.heartbeats.all():
                    return
                continue
            said = f"waits for {', '.join(waiting)} to fold into both"
            self._lease.say(said, len(workers) - len(waiting), len(workers))
            if said != told:
                self._tell(said)
                told = said
            time.sleep(_LOOK_S)

    def await_live(self, standing: Standing) -> None:
        """Return when all workers fold into the live edition, or after a while: they will."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if all(one.edition == standing.live.id for one in self._ground.heartbeats.all()):
                return
            self._lease.say("waits for workers to notice")
            time.sleep(_LOOK_S)


class _Drop:
    """Deletes the edition that does not answer."""

    def __init__(self, ground: Ground, lease: Lease, tell: Tell) -> None:
        self._ground = ground
        self._lease = lease
        self._tell = tell

    def run(self, standing: Standing) -> int:
        """Delete it when nobody reads it or folds into it any more; return the number of its states."""
        assert standing.other is not None  # noqa: S101 - whoever calls has looked
        if standing.stage != "dropping":
            standing = self._ground.editions.move(standing, msgspec.structs.replace(standing, stage="dropping"))
        other = standing.other
        assert other is not None  # noqa: S101 - as before
        self._await_left(standing, other.id)
        self._tell("deleting the states that do not answer")
        self._lease.say("deletes the states that do not answer")
        try:
            schema = self._ground.editions.plan(other).schema
        except StateError:
            schema = self._ground.settings.declared.schema
        count = self._ground.editions.drop(other, schema)
        self._ground.editions.move(standing, Standing(standing.live, since_us=standing.since_us))
        return count

    def _await_left(self, standing: Standing, other: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            workers = self._ground.heartbeats.all()
            age_s = (wall_clock() - standing.since_us) / MICROS
            if age_s >= _SETTLES_S and not any(_is_in(one, other, standing.live.id) for one in workers):
                return
            self._lease.say("waits until nobody reads the states that do not answer")
            time.sleep(_LOOK_S)


def _is_in(worker: WorkerStatus, other: str, live: str) -> bool:
    return worker.edition != live or (bool(worker.follows) and worker.follows == other)
