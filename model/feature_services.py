"""The feature services of targets, with descriptions of the models that use them, which Feast's pages show."""

from collections.abc import Iterable

from data.units import span
from features.feast_stores.services import Service
from model.targets import Target

__all__ = ["feature_services"]


def feature_services(targets: Iterable[Target]) -> tuple[Service, ...]:
    """Return the distinct services of targets, each with every model that uses it."""
    by_service: dict[str, list[Target]] = {}
    for target in targets:
        by_service.setdefault(target.feature_service, []).append(target)
    return tuple(
        Service(
            name,
            "Every feature that models may use which answer: "
            + "; ".join(f"{user.name}, whether {user.meaning} within {span(user.horizon_us)}" for user in users)
            + ".",
            {
                "models": ", ".join(user.name for user in users),
                "asked at": ", ".join(dict.fromkeys(kind for user in users for kind in user.trigger)),
                "horizon": ", ".join(dict.fromkeys(span(user.horizon_us) for user in users)),
            },
        )
        for name, users in by_service.items()
    )
