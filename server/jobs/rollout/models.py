"""The models that a rollout would break, because the new definitions lack features that they need."""

from data.errors import ConfigurationError, EncoreError, StateError
from features.plan.plan import Plan
from features.state.editions.editions import Editions
from features.state.editions.standing import Edition
from server.published import open_registry
from server.settings import Settings

__all__ = ["refused_models"]


def refused_models(settings: Settings, plan: Plan, editions: Editions, live: Edition) -> None:
    """Raise ConfigurationError, naming models and features, if champions in use would lack features afterwards."""
    from model.targets import targets_of  # noqa: PLC0415 - as above

    try:
        live_names = set(editions.plan(live).names) if live.plan else set()
    except StateError:
        live_names = set()
    registry, lacking = open_registry(settings), []
    for target in targets_of(settings.declared):
        try:
            metadata = registry.metadata(target, "champion")
        except (EncoreError, OSError):
            continue  # no champion
        absent = sorted(set(metadata.features) - set(plan.names))
        if absent and set(metadata.features) <= live_names:
            lacking.append(f"{target} {metadata.version} needs {', '.join(absent)}")
    if lacking:
        raise ConfigurationError(
            f"models that answer now could not after this rollout: {'; '.join(lacking)}; train on the new definitions "
            "first (`encore train --promote`: the old model answers until the rollout switches), or give --force. "
            "Nothing was changed"
        )
