"""What a change of the definitions means for stored states: which features differ, and which states need a rebuild."""

from typing import NamedTuple

from data.units import MICROS
from features.plan.plan import EntityPlan, Plan

__all__ = ["EntityChange", "changes"]


class EntityChange(NamedTuple):
    """The change of one entity.

    Features added, removed and changed; aggregates that its states lack; whether its states stay valid.
    """

    entity: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    lacking: tuple[str, ...]
    states_valid: bool

    def __str__(self) -> str:
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (("new", self.added), ("gone", self.removed), ("changed", self.changed))
            if names
        ]
        if self.states_valid:
            states = "states stay valid"
        else:
            lacking = f" (they lack {', '.join(self.lacking)})" if self.lacking else ""
            states = f"states must be made anew{lacking}: `encore rollout start`"
        return f"{self.entity}: {'; '.join([*parts, states])}"


def changes(old: Plan, new: Plan) -> list[EntityChange]:
    """Return the differences between two plans, one item per entity."""
    before = {entity.entity: entity for entity in old.entities}
    return [_change(before.get(entity.entity), entity) for entity in new.entities]


def _change(old: EntityPlan | None, new: EntityPlan) -> EntityChange:
    before = {feature.name: feature for feature in old.features} if old else {}
    after = {feature.name: feature for feature in new.features}
    return EntityChange(
        new.entity,
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(name for name in after if name in before and after[name] != before[name]),
        tuple(sorted(_kept(new) - (_kept(old) if old else set()))),
        old is not None and old.layout == new.layout,
    )


def _kept(plan: EntityPlan) -> set[str]:
    """Describe everything that a state keeps."""
    tiles = {f"{column} in tiles of {t.hop_us // MICROS} s" for t in plan.tile_sets for column in t.columns}
    return {str(slot) for slot in plan.slots} | tiles
