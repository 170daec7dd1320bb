"""The editions of a project's states in Redis: which is live, by what plan each is made, and how far it is folded.

    encore:editions      {"live": {"id": "", "plan": "9f…"}, "other": {"id": "4c1d9e", "plan": "07…"}, "stage": …}
    encore:plan:07…      the compiled plan
    encore@4c1d9e:…      all that belongs to an edition: inventory, what is set aside, the newest event, what is folded
    …u1encore@4c1d9e     a state's key ends in the edition's space, where that of the first edition ends in the project

An edition's own keys are those of a project of that name, so every part that handles a project's states works on any
edition. One key says which is live. Readers and workers watch it, and read the plan stored beside it: an edit of the
definitions changes nothing before a rollout does.
"""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from data.errors import SchemaError, StateError, UnavailableError
from data.schema import Schema
from features.plan.plan import Plan
from features.state.editions.standing import Edition, Standing, live_edition
from features.state.online.answers import ask, read_fields, read_value, write_fields
from features.state.online.states import OnlineStates

__all__ = ["Editions", "Marks", "Opened", "editions_key"]

_ID_BYTES = 3

_MOVE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


def editions_key(project: str) -> str:
    """Return the key that says which edition is live."""
    return f"{project}:editions"


class Marks:
    """How far an edition is folded: per topic and partition, the offset before which every event is in its states."""

    def __init__(self, client: Any, space: str) -> None:
        self._client = client
        self.key = f"{space}:folded"

    def read(self, topic: bytes) -> dict[int, int]:
        """Return the offsets of a topic's partitions; partitions without a mark are absent."""
        fields = read_fields(self._client, self.key)
        prefix = topic.hex().encode() + b":"
        return {
            int(field[len(prefix) :]): int(offset)
            for field, offset in fields.items()
            if field.startswith(prefix) and field[len(prefix) :].isdigit() and offset.isdigit()
        }

    def write(self, topic: bytes, offsets: Mapping[int, int]) -> None:
        """Note how far partitions are folded. A mark that is too low costs time, but no event."""
        if offsets:
            fields = {f"{topic.hex()}:{partition}": offset for partition, offset in offsets.items()}
            write_fields(self._client, self.key, fields)


class Opened(NamedTuple):
    """An edition to read or to fold into: its `id`, plan, states, and how far it is folded."""

    id: str
    plan: Plan
    states: OnlineStates
    marks: Marks


class Editions:
    """The editions of one project in one Redis. Every method raises UnavailableError where Redis is away."""

    def __init__(self, client: Any, project: str) -> None:
        self._client = client
        self.project = project
        self._key = editions_key(project)

    def stored(self) -> bytes:
        """Return the standing of the editions as it is stored; empty where there is none."""
        return read_value(self._client, self._key) or b""

    def read(self) -> Standing | None:
        """Return the recorded editions; None where there are none. Raises StateError where they cannot be read."""
        encoded = self.stored()
        return Standing.decode(encoded) if encoded else None

    def live(self) -> Edition | None:
        """Return the edition that answers, as `live_edition` does."""
        return live_edition(self.stored())

    def begin(self, plan: Plan) -> Standing:
        """Return which editions there are; where none are recorded, the first one becomes live, made by this plan."""
        self.keep(plan)
        standing = Standing(Edition("", plan.hash))
        ask(lambda: self._client.set(self._key, standing.encode(), nx=True))
        return self.read() or standing

    def put(self, standing: Standing) -> Standing:
        """Record how editions stand where that is not recorded, or cannot be read; return it."""
        ask(lambda: self._client.unlink(self._key))
        ask(lambda: self._client.set(self._key, standing.encode()))
        return standing

    def move(self, before: Standing, after: Standing) -> Standing:
        """Record that editions stand otherwise; return how. Raises UnavailableError where they moved meanwhile."""
        if not ask(lambda: self._client.eval(_MOVE, 1, self._key, before.encode(), after.encode())):
            raise UnavailableError("Redis: another rollout has moved the editions of states meanwhile; run this again")
        return after

    def new(self, plan: Plan) -> Edition:
        """Return a new edition, with its plan stored."""
        self.keep(plan)
        return Edition(secrets.token_hex(_ID_BYTES), plan.hash)

    def keep(self, plan: Plan) -> None:
        """Store a plan by its hash."""
        ask(lambda: self._client.set(self._plan_key(plan.hash), msgspec.json.encode(plan)))

    def plan(self, edition: Edition) -> Plan:
        """Return the plan of an edition. Raises StateError where it is not there or cannot be read."""
        try:
            plan = msgspec.json.decode(read_value(self._client, self._plan_key(edition.plan)) or b"", type=Plan)
        except (msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(
                f"Redis: the plan {edition.plan} of the states cannot be read ({error}); run `encore rebuild`"
            ) from error
        if plan.hash != edition.plan:
            raise StateError(f"Redis: the plan {edition.plan} of the states is another one; run `encore rebuild`")
        return plan

    def open(self, edition: Edition, *, guarded: bool = False) -> Opened:
        """Return an edition by its stored plan."""
        return self.opened(edition, self.plan(edition), guarded=guarded)

    def opened(self, edition: Edition, plan: Plan, *, guarded: bool = False) -> Opened:
        """Return an edition of a plan that is at hand."""
        return Opened(edition.id, plan, self.states(edition, plan.schema, guarded=guarded), self.marks(edition))

    def states(self, edition: Edition, schema: Schema, *, guarded: bool = False) -> OnlineStates:
        """Return the states of an edition."""
        return OnlineStates(self._client, edition.space(self.project), schema, guarded=guarded)

    def marks(self, edition: Edition) -> Marks:
        """Return how far an edition is folded."""
        return Marks(self._client, edition.space(self.project))

    def drop(self, edition: Edition, schema: Schema) -> int:
        """Delete an edition that is not live, and its plan where no other has it; return the number of its states."""
        count = self.states(edition, schema).clear()
        space = edition.space(self.project)
        standing = self.read()
        plans = set() if standing is None else {standing.live.plan}
        keys = [self.marks(edition).key, f"{space}:materialized", f"{space}:lives"]
        for key in keys if edition.plan in plans else [*keys, self._plan_key(edition.plan)]:
            ask(lambda key=key: self._client.unlink(key))  # type: ignore[misc]
        return count

    def _plan_key(self, plan: str) -> str:
        return f"{self.project}:plan:{plan}"
