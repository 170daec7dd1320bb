"""The questions that models answer: their triggers, answers, horizons, and the meaning of yes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import ConfigurationError, DefinitionError
from data.project import DEFAULT, Project
from data.schema import Schema
from data.units import DAY_US, MICROS

__all__ = [
    "CART_ABANDONMENT",
    "PURCHASE_INTENT",
    "REPEAT_PURCHASE",
    "SESSION_IDLE_US",
    "TARGETS",
    "LabelRule",
    "Target",
    "first_target",
    "target_named",
    "targets_of",
]


SESSION_IDLE_US = 30 * 60 * MICROS
"""A user's session ends if no event of theirs follows within this time."""

LabelRule = Literal["follows", "does_not_follow", "follows_in_next_session"]


@dataclass(frozen=True, slots=True)
class Target:
    """A yes-or-no question about entities that the schema asks about, asked at each event of a type in `trigger`.

    The label depends on the later events of the same `entity`, one that the schema asks about (such as the user and the
    product, or the user with any product), strictly after the question and at most `horizon_us` microseconds after it.
    By `rule` it is 1 if

    - `follows`: there is an event of type `label`;
    - `does_not_follow`: there is none;
    - `follows_in_next_session`: there is one in the next session of the entity by which events are ordered (the user),
      with sessions separated by `SESSION_IDLE_US`.

    A question whose horizon extends past the log has no label yet, and is not an example. With `asked_later`, each
    question is also asked some time after its event (see `model.examples.spine`); without, answers are assumed to be
    worthless by then. `meaning` describes label 1 in words; `feature_service` is Feast's, by default named like the
    target.
    """

    name: str
    trigger: tuple[str, ...]
    label: str
    horizon_us: int
    meaning: str
    rule: LabelRule = "follows"
    entity: str = "user_product"
    asked_later: bool = True
    feature_service: str = ""

    def __post_init__(self) -> None:
        if self.horizon_us <= 0:
            raise ConfigurationError(f"target {self.name}: its horizon is {self.horizon_us} µs; give more than 0")
        if not self.feature_service:
            object.__setattr__(self, "feature_service", self.name)


REPEAT_PURCHASE = Target(
    name="repeat_purchase",
    trigger=("purchase",),
    label="purchase",
    horizon_us=30 * DAY_US,
    meaning="the user buys the product again",
)
"""At a purchase: does this user buy this product again within 30 days?"""

PURCHASE_INTENT = Target(
    name="purchase_intent",
    trigger=("view", "add_to_cart", "remove_from_cart", "purchase"),
    label="purchase",
    horizon_us=DAY_US,
    meaning="the user buys something",
    entity="user",
)
"""At a user's activity: do they buy anything within 24 hours?"""

CART_ABANDONMENT = Target(
    name="cart_abandonment",
    trigger=("add_to_cart",),
    label="purchase",
    horizon_us=DAY_US,
    meaning="the user does not buy what is in the cart",
    rule="does_not_follow",
    asked_later=False,
)
"""At an add-to-cart: does the product stay unbought for 24 hours?"""

TARGETS: dict[str, Target] = {target.name: target for target in (REPEAT_PURCHASE, PURCHASE_INTENT, CART_ABANDONMENT)}
"""Every target of the package's own shop, by name."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def targets_of(project: Project = DEFAULT) -> dict[str, Target]:
    """Return every target that a project declares, by name; the first is the default.

    Raises DefinitionError for a target that its schema cannot answer.
    """
    declared = project.declared("targets", "TARGETS")
    if not isinstance(declared, Mapping | Sequence):
        raise DefinitionError(f"{project.file('targets')}: TARGETS is no list of targets")
    targets = list[Any](declared.values() if isinstance(declared, Mapping) else declared)
    for fault in _faults(targets, project.schema):
        raise DefinitionError(f"{project.file('targets')}: {fault}")
    return {target.name: target for target in targets}


def first_target(project: Project) -> str:
    """Return the name of the default target. Raises as `targets_of` does."""
    return next(iter(targets_of(project)))


def _faults(targets: list[Any], schema: Schema) -> Iterator[str]:
    """Yield the faults of targets with respect to the schema, each with a remedy."""
    if not targets:
        yield "TARGETS is empty; declare at least one, or there is nothing to train"
    names = [target.name for target in targets if isinstance(target, Target)]
    entity_names = [entity.name for entity in schema.asked]
    for target in targets:
        if not isinstance(target, Target):
            yield f"TARGETS holds {target!r:.80}, which is no Target"
            return
        name = f"target {target.name!r:.80}"
        if not _NAME.fullmatch(target.name) or names.count(target.name) > 1:
            yield f"{name} has a name that is taken, or not of a-z, 0-9 and _ with a letter first; give it another"
        for kind in (*target.trigger, target.label):
            if kind not in schema.type_names:
                yield f"{name} asks about {kind!r:.80}; the event types are {', '.join(schema.type_names)}"
        if target.entity not in entity_names:
            yield f"{name} is about {target.entity!r:.80}; questions name {', '.join(entity_names) or 'nothing (asks)'}"
        if target.rule == "follows_in_next_session" and schema.ordered_by not in schema.asks:
            yield f"{name} asks about sessions of a {schema.ordered_by}, whom no question names: add it to `asks`"


def target_named(name: str, project: Project = DEFAULT) -> Target:
    """Return the target of that name. Raises ConfigurationError if there is none."""
    targets = targets_of(project)
    try:
        return targets[name]
    except KeyError:
        raise ConfigurationError(f"target {name!r} is unknown; there are {', '.join(targets)}") from None
