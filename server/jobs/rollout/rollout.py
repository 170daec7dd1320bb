"""`encore rollout`: replaces the live states by states of other definitions, or of the same ones.

    building    fold the log into another edition of the states        workers and API use the live one
    following   fold what was logged meanwhile; from there on, workers fold into both
                compare a sample of both with batch
    switched    the other edition is live, and the previous one is kept and followed:  back ─ swap the two
    dropping    delete it                                                            finish

The stage is stored in Redis, so a killed rollout leaves a working system; the next `encore rollout` continues from
there, or starts over if the definitions have changed since.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from data.clock import wall_clock
from data.errors import ConfigurationError, DataError, EncoreError, StateError, UnavailableError
from data.log.event_log import EventLog
from events.stream.heartbeat import WorkerStatus
from features.plan.cache import kept_plan, load_plan
from features.plan.plan import Plan
from features.state.editions.behind import lacking
from features.state.editions.editions import Editions, Opened
from features.state.editions.kept import Kept
from features.state.editions.standing import Edition, Stage, Standing
from server.event_log import open_batch
from server.jobs.feast_repo import apply_views, is_applied
from server.jobs.rollout.drop import drop
from server.jobs.rollout.follow import await_live, follow
from server.jobs.rollout.ground import Ground, Tell
from server.jobs.rollout.lease import Lease, Step, held, last_step
from server.jobs.rollout.models import refused_models
from server.redis.connections import connect_redis, heartbeats_of
from server.redis.editions import editions_of, fits, let_live, lives_of
from server.redis.mark import Mark, made_of
from server.settings import Settings

if TYPE_CHECKING:
    from features.verify.verification import Verdict

__all__ = ["RolledOut", "RolloutStatus", "finish_rollout", "go_back", "rebuild", "roll_out", "rollout_status"]

_SMALL = 20_000
"""Number of offsets that are left to the workers to fold from the log: about a second's work."""

_SAMPLE = 20
_SEEDS = 5


class RolledOut(NamedTuple):
    """The result: plans before and after, states by entity (at least), whether they were built, and duration, s."""

    before: str
    after: str
    states: dict[str, int]
    made: bool
    stage: Stage
    seconds: float


class RolloutStatus(NamedTuple):
    """The present editions, the running step (None: nothing runs), and the live workers."""

    standing: Standing | None
    step: Step | None
    remaining_s: float | None
    workers: list[WorkerStatus]

    @property
    def interrupted(self) -> bool:
        """Whether a rollout began, did not end, and no process is running it."""
        return (
            self.step is None
            and self.standing is not None
            and self.standing.stage in {"building", "following", "dropping"}
        )


def roll_out(
    settings: Settings, tell: Tell, *, anew: bool = False, finish: bool = False, force: bool = False
) -> RolledOut:
    """Make the present definitions live, without answers from missing states in between.

    `anew` builds states even if the live ones are of these definitions; `finish` deletes the old ones at once; `force`
    permits breaking a model that lacks features in the new definitions. Preconditions are checked first. Raises, with
    no change, DefinitionError, DataError for a log with a hole, ConfigurationError, UnavailableError.
    """
    previous = kept_plan(settings.plan)
    tell("compiling the definitions")
    plan = load_plan(settings.plan, settings.declared)
    with _lease(settings, tell) as (ground, lease):
        rollout = _Rollout(ground, lease, tell, plan, anew=anew)
        return rollout.run(previous, finish=finish, force=force)


def rebuild(settings: Settings, tell: Tell) -> dict[str, int]:
    """Rebuild every state from the event log beside the live states, which are deleted afterwards."""
    return roll_out(settings, tell, anew=True, finish=True).states


def finish_rollout(settings: Settings, tell: Tell) -> int:
    """Delete the edition that was live before; return the number of its states."""
    with _lease(settings, tell) as (ground, lease):
        standing = ground.editions.read()
        if standing is None or standing.other is None:
            raise ConfigurationError("there is no rollout to finish: the states that answer are the only ones")
        if standing.stage in {"building", "following"}:
            raise ConfigurationError(
                "the rollout has not switched yet: `encore rollout` brings it to its end, `encore rollout back` ends it"
            )
        return drop(ground, lease, tell, standing)


def go_back(settings: Settings, tell: Tell) -> Standing:
    """Make the previous edition live again; before the switch, delete the new edition.

    Raises ConfigurationError if there is none, such as after `finish_rollout`.
    """
    with _lease(settings, tell) as (ground, lease):
        standing = ground.editions.read()
        if standing is None or standing.other is None or standing.stage == "dropping":
            raise ConfigurationError(
                "there is nothing to go back to: the states of the definitions before are deleted (`encore rollout "
                "finish`); bring the definitions back, and run `encore rollout`"
            )
        if standing.stage != "switched":
            drop(ground, lease, tell, standing)
        elif not standing.other.plan:
            raise ConfigurationError(
                "the states before are of an older Encore, which alone reads and folds them; the way back is `encore "
                "restore`, and `encore rollout finish` deletes them"
            )
        else:
            other = ground.editions.open(standing.other)
            follow(ground, lease, tell, standing, other)
            ground.replication.confirm()
            back = Standing(standing.other, standing.live, "switched", wall_clock())
            _switch(ground, tell, standing, back, other.plan)
            await_live(ground, lease, back)
        present = ground.editions.read()
        assert present is not None  # noqa: S101 - it existed above
        return present


def rollout_status(settings: Settings) -> RolloutStatus:
    """Return the state of a rollout."""
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
    """Make another edition live, and register its views with Feast."""
    if not is_applied(ground.settings, plan):
        tell("registering the views with Feast")
        apply_views(ground.settings, plan)
    return ground.editions.move(before, after)


class _Rollout:
    """One rollout to a plan."""

    def __init__(self, ground: Ground, lease: Lease, tell: Tell, plan: Plan, *, anew: bool) -> None:
        self._anew = anew
        self._ground = ground
        self._lease = lease
        self._tell = tell
        self._plan = plan
        self._editions: Editions = ground.editions
        self._began_s = time.monotonic()
        self._made_of = made_of(ground.settings, plan)

    def run(self, previous: Plan | None, *, finish: bool, force: bool) -> RolledOut:
        standing = self._ready(previous, finish=finish)
        before = standing.live
        lives_of(self._plan, self._ground.settings)  # raises for an impossible setting
        mark = self._mark(before).read()
        if standing.other is None and not self._anew and mark == self._made_of:
            return self._reuse_states(standing, force=force)
        if not force:
            refused_models(self._ground.settings, self._plan, self._editions, before)
        other = self._other_edition(standing)
        standing = self._build_other(other)
        opened = self._editions.open(other)
        follow(self._ground, self._lease, self._tell, standing, opened)
        self._compare(standing, opened)
        self._ground.replication.confirm()
        self._mark(other).write(self._made_of)
        after = Standing(other, before, "switched", wall_clock())
        standing = _switch(self._ground, self._tell, standing, after, self._plan)
        self._tell(f"plan {self._plan.hash} answers")
        await_live(self._ground, self._lease, standing)
        if finish:
            self._drop(standing)
        return self._outcome(before, made=True)

    def _ready(self, previous: Plan | None, *, finish: bool) -> Standing:
        """Return the present standing, after deleting the remains of another rollout."""
        standing = self._standing(previous)
        if standing.stage == "switched" and not finish:
            raise ConfigurationError(
                "the rollout before is not finished: the states of the definitions before are kept; `encore rollout "
                "finish` deletes them, `encore rollout back` lets them answer again. Nothing was changed"
            )
        if standing.stage in {"switched", "dropping"}:
            self._drop(standing)
        elif standing.other is not None and standing.other.plan != self._plan.hash:
            self._tell("a rollout to other definitions had begun, and is given up")
            self._drop(standing)
        return self._standing(previous)

    def _standing(self, previous: Plan | None) -> Standing:
        """Return the present standing; if none is recorded, record the first edition as live, with the fitting plan."""
        try:
            standing = self._editions.read()
        except StateError as error:
            self._tell(str(error))
            standing = None
        if standing is not None:
            return standing
        mark = self._mark(Edition()).read()
        plan = next((plan for plan in (previous, self._plan) if plan is not None and fits(mark, plan)), None)
        if plan is not None:
            self._editions.keep(plan)
        return self._editions.put(Standing(Edition("", plan.hash if plan else "")))

    def _reuse_states(self, standing: Standing, *, force: bool) -> RolledOut:
        """Make definitions live whose states exist already."""
        before = standing.live
        if before.plan != self._plan.hash:
            if not force:
                refused_models(self._ground.settings, self._plan, self._editions, before)
            self._editions.keep(self._plan)
            live = Edition(before.id, self._plan.hash)
            _switch(self._ground, self._tell, standing, Standing(live, since_us=wall_clock()), self._plan)
        return self._outcome(before, made=False)

    def _other_edition(self, standing: Standing) -> Edition:
        """Return the edition to build: a new one, or that of an interrupted rollout to the same plan."""
        self._lease.say("looks whether there is room")
        self._entity_counts = self._ground.entities(self._plan)
        if standing.other is None:
            self._ground.require_memory(self._entity_counts, beside=True)
            self._require_partitions(standing.live)
            standing = self._editions.move(
                standing, Standing(standing.live, self._editions.new(self._plan), "building", standing.since_us)
            )
        assert standing.other is not None  # noqa: S101 - it was created above
        let_live(self._editions.opened(standing.other, self._plan), self._ground.settings)
        return standing.other

    def _require_partitions(self, live: Edition) -> None:
        from features.batch.materializer import require_partitions  # noqa: PLC0415 - it imports DuckDB

        declared = self._ground.settings.declared.schema
        schema = self._editions.plan(live).schema if live.plan else declared
        require_partitions(self._editions.states(live, schema), EventLog(self._ground.log.storage, schema))

    def _build_other(self, other: Edition) -> Standing:
        """Build the edition from the log, unless that is done, and let workers follow it."""
        from features.batch.edition import build_edition, catch_up  # noqa: PLC0415 - it imports DuckDB

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
        total = sum(self._entity_counts.values())
        kept = None if self._anew else self._kept(standing.live, opened)
        self._tell(f"making {total:,} states beside those that answer")
        if kept is not None:
            self._tell(f"those of {', '.join(kept.least)} stay as they are, and are copied")
        build_edition(
            opened,
            self._ground.log,
            source=lambda: self._ground.source(self._plan),
            progress=lambda done: self._lease.say("makes states from the event log", done, total),
            write=self._ground.writing(opened),
            kept=kept,
        )
        previous_size = -1
        while (size := sum(map(len, lacking(opened, self._ground.log).values()))) > _SMALL and size != previous_size:
            self._lease.say("folds what came meanwhile", 0, size)
            previous_size = size
            catch_up(opened, self._ground.log)
        self._ground.replication.confirm()
        return self._move(standing, "following")

    def _kept(self, live: Edition, opened: Opened) -> Kept | None:
        """Return which states the edition takes over from the live one; none where that lacks a history of the log."""
        if not live.plan:
            return None
        before = self._editions.open(live)
        has_all = self._mark(live).read() == made_of(self._ground.settings, before.plan)
        return Kept.of(before, opened, self._ground.log) if has_all else None

    def _compare(self, standing: Standing, opened: Opened) -> None:
        """Compare a sample of both editions with batch; only the new one must agree."""
        self._lease.say("compares a sample of both")
        define = self._ground.settings.declared.declared("features", "define")
        for seed in range(_SEEDS):
            verdict = self._verdict(opened, seed, define)
            if verdict.disagreements:
                differences = "; ".join(" ".join(map(str, disagreement)) for disagreement in verdict.disagreements[:3])
                raise DataError(
                    f"rollout: {len(verdict.disagreements):,} values of the new states differ from what the event log "
                    f"says ({differences}); the old ones go on answering. `encore rollout back` gives the new ones up, "
                    "and `encore rebuild` then makes all from the log, none of which is copied"
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
        # To count them takes a pass over all keys, beside what answers.
        counts = dict(self._editions.states(standing.live, self._plan.schema).inventory.look().expected)
        seconds = time.monotonic() - self._began_s
        return RolledOut(before.plan, self._plan.hash, counts, made, standing.stage, round(seconds, 1))

    def _current(self) -> Standing:
        standing = self._editions.read()
        if standing is None:
            raise UnavailableError("Redis has forgotten the rollout: it was emptied; run this again")
        return standing

    def _move(self, standing: Standing, stage: Stage) -> Standing:
        return self._editions.move(standing, msgspec.structs.replace(standing, stage=stage))

    def _drop(self, standing: Standing) -> None:
        drop(self._ground, self._lease, self._tell, standing)

    def _mark(self, edition: Edition) -> Mark:
        return Mark(self._ground.client, edition.space(self._editions.project))
