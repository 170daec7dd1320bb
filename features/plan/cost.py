"""What a state costs in bytes, aggregate by aggregate: an upper bound, from the sizes that its numbers can have."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from data.units import MICROS
from features.kinds import KINDS
from features.plan.plan import EntityPlan, Plan
from features.seen import ENTRY_BYTES, MOST_SEEN

__all__ = ["Cost", "costs", "costs_in_words"]

_ROW = 9
"""Bytes of a tile's number at most; mostly 1, since it is a difference to the next one."""

_FIRST = 1 + 5 + 9
"""Bytes of a partition and an offset at most."""

_FRAME = 5 + 3 + 5
"""Bytes of version, checksum, length and layout; and of the length of a tile set."""


class Cost(NamedTuple):
    """The bytes that one aggregate takes at most in a state of an entity; `hop_s` 0 and `tiles` 1 for a lifetime."""

    entity: str
    aggregate: str
    hop_s: float
    tiles: int
    most_bytes: int

    def __str__(self) -> str:
        tiles = f", in {self.tiles} tiles of {self.hop_s:g} s" if self.hop_s else ""
        return f"{self.most_bytes:>12,}  {self.aggregate}{tiles}"


def costs(plan: Plan) -> list[Cost]:
    """Return the cost of every aggregate: by entity, the greatest first."""
    return [cost for entity in plan.entities for cost in sorted(_costs(entity), key=lambda cost: -cost.most_bytes)]


def costs_in_words(costs_found: Sequence[Cost]) -> str:
    """Return a line per entity, and below it one per aggregate."""
    lines = []
    for entity, group in groupby(costs_found, attrgetter("entity")):
        costs_of = list(group)
        total = sum(cost.most_bytes for cost in costs_of)
        lines += [f"{entity}: a state takes at most {total:,} bytes", *map(str, costs_of)]
    return "\n".join(lines)


def _costs(plan: EntityPlan) -> list[Cost]:
    slots = [Cost(plan.entity, str(slot), 0, 1, KINDS[slot.kind].most_bytes(slot.parameter)) for slot in plan.slots]
    tiles = [
        Cost(
            plan.entity,
            str(column),
            tile_set.hop_us / MICROS,
            tile_set.span,
            tile_set.span * KINDS[column.kind].most_bytes(column.parameter),
        )
        for tile_set in plan.tile_sets
        for column in tile_set.columns
    ]
    rows = [Cost(plan.entity, "tile", t.hop_us / MICROS, t.span, _FRAME + t.span * _ROW) for t in plan.tile_sets]
    frame = Cost(plan.entity, "frame", 0, 1, _FRAME + len(plan.firsts) * _FIRST)
    seen = Cost(plan.entity, f"ids seen, {ENTRY_BYTES} each", 0, 1, _FRAME + _FIRST + MOST_SEEN * ENTRY_BYTES)
    return [*slots, *tiles, *rows, frame, *([seen] if plan.remembers_s else [])]
