"""The feature services of targets: what Feast's pages tell of the models that use one."""

from collections.abc import Iterable

from data.units import DAY_US, HOUR_US
from features.feast_stores.services import Service
from model.targets import Target

__all__ = ["feature_services"]


def feature_services(targets: Iterable[Target]) -> tuple[Service, ...]:
    """Return the services of targets, each once, with every model that uses it."""
    using: dict[str, list[Target]] = {}
    for target in targets:
        using.setdefault(target.feature_service, []).append(target)
    return tuple(
        Service(
            name,
            "Every feature that models may use which answer: "
            + "; ".join(f"{one.name}, whether {one.meaning} within {_horizon(one.horizon_us)}" for one in users)
            + ".",
            {
                "models": ", ".join(one.name for one in users),
                "asked at": ", ".join(dict.fromkeys(kind for one in users for kind in one.trigger)),
                "horizon": ", ".join(dict.fromkeys(_horizon(one.horizon_us) for one in users)),
            },
        )
        for name, users in using.items()
    )


def _horizon(length_us: int) -> str:
    return f"{length_us / DAY_US:g} days" if length_us >= 2 * DAY_US else f"{length_us / HOUR_US:g} hours"
