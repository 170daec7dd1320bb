"""Other definitions of the same shop, and whether the states of an edition are what the log says."""

from msgspec.structs import replace

from data.log.event_log import EventLog
from features.batch.engine import DuckDBEngine
from features.entities import USER
from features.plan.plan import Aggregate, Feature, Plan, Total
from features.plan.where import Condition
from features.state.algebra import Algebra
from features.state.editions.editions import Opened
from features.state.fence import Fence

__all__ = ["SEEN", "differing", "more_of_users"]

SEEN = "user_seen_quantity"


def more_of_users(plan: Plan) -> Plan:
    """The plan with one feature more, of which its users' states know nothing: how many pieces they have looked at."""
    counted = Aggregate("sum", "quantity", (Condition("event_type", ("view",)),))
    user = plan.of(USER.name)
    wider = replace(
        user,
        slots=(*user.slots, counted),
        features=(*user.features, Feature(SEEN, Total(counted), "int")),
    )
    return replace(plan, entities=tuple(wider if one is user else one for one in plan.entities))


def differing(edition: Opened, log: EventLog) -> list[str]:
    """Entities whose states are not what the log says: what features are computed of, and the offsets folded."""
    found = []
    with DuckDBEngine(log, threads=1) as engine:
        for entity in edition.plan.entities:
            algebra = Algebra(entity)
            wanted = list(engine.states(entity))
            stored = edition.states.read([one.key for one in wanted])
            for one, (state, fence) in zip(wanted, stored, strict=True):
                if not state or algebra.decode(state) != algebra.decode(one.state):
                    found.append(f"{entity.entity} {one.key.ids}")
                elif Fence.decode(fence).offsets != one.fence.offsets:
                    found.append(f"{entity.entity} {one.key.ids}: {fence!r}")
            if edition.states.counts()[entity.entity] != len(wanted):
                found.append(f"{entity.entity}: {edition.states.counts()[entity.entity]} states")
    return found
