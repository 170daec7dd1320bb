"""The feature services of targets, with descriptions of the models that use them, which Feast's pages show."""

from collections.abc import Iterable

from data.units import DAY_US, HOUR_US
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
            + "; ".join(f"{user.name}, whether {user.meaning} within {_horizon(user.horizon_us)}" for user in users)
            + ".",
            {
                "models": ", ".join(user.name for user in users),
                "asked at": ", ".join(dict.fromkeys(kind for user in users for kind in user.trigger)),
                "horizon": ", ".join(dict.fromkeys(_horizon(user.horizon_us) for user in users)),
            },
        )
        for name, users in by_service.items()
    )


def _horizon(length_us: int) -> str:
    return f"{length_us / DAY_US:g} days" if length_us >= 2 * DAY_US else f"{length_us / HOUR_US:g} hours"
