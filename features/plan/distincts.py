"""Which states count the firsts that other states see: the distinct counts of a plan.

    user: distinct products purchased = purchases that were the first of their (user, product)
          counted in the user's state, seen by the state of the pair

For each event, the bits of one number say which firsts it is; every bit is a condition of an entity that
sees it (`EntityPlan.firsts`).
"""

from collections.abc import Sequence

from features.plan.plan import EntityPlan, Plan

__all__ = ["Distincts"]


class Distincts:
    """The distinct counts of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._bits: dict[str, tuple[int, ...]] = {}
        bit = 1
        for entity in plan.entities:
            self._bits[entity.entity] = tuple(bit << place for place in range(len(entity.firsts)))
            bit <<= len(entity.firsts)
        self._counts = {entity.entity: self._counts_of(plan, entity) for entity in plan.entities}
        self._slots: dict[tuple[str, int], tuple[int, ...]] = {}
        self._counted_by: dict[str, list[tuple[str, tuple[int, ...]]]] = {name: [] for name in self._bits}
        for entity in plan.entities:
            seen_by = {plan.seen_by(entity, slot).entity for slot in entity.slots if slot.kind == "distinct"}
            for name in sorted(seen_by):
                places = tuple(plan.of(name).join_keys.index(key) for key in entity.join_keys)
                self._counted_by[name].append((entity.entity, places))

    def bits(self, entity: str) -> Sequence[int]:
        """Return the bits of an entity's `firsts`, in their order."""
        return self._bits[entity]

    def all_of(self, entity: str) -> int:
        """Return all the bits of an entity."""
        return sum(self._bits[entity])

    def slots(self, entity: str, firsts: int) -> tuple[int, ...]:
        """Return the slots of an entity's state that count an event of these bits."""
        try:
            return self._slots[entity, firsts]
        except KeyError:
            slots = tuple(slot for slot, bit in self._counts[entity] if firsts & bit)
            self._slots[entity, firsts] = slots
            return slots

    def counted_by(self, entity: str, ids: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Return the entities, by name and ids, whose distinct counts depend on the state of this one."""
        return [(name, tuple(ids[place] for place in places)) for name, places in self._counted_by[entity]]

    def _counts_of(self, plan: Plan, entity: EntityPlan) -> list[tuple[int, int]]:
        """Return the slots of distinct counts, each with the bit that it counts."""
        counts = []
        for slot, aggregate in enumerate(entity.slots):
            if aggregate.kind == "distinct":
                seer = plan.seen_by(entity, aggregate)
                counts.append((slot, self._bits[seer.entity][seer.firsts.index(aggregate.where)]))
        return counts
