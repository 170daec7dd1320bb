"""What `feast apply` registers: everything is made from features/definitions.py."""

from features.feast_stores.views import feast_objects
from features.plan.cache import compile_definitions
from model.feature_services import feature_services
from model.targets import TARGETS

# Feast finds its objects by looking at this module's attributes.
globals().update(
    {
        f"object_{place}": made
        for place, made in enumerate(
            feast_objects(compile_definitions(), "../../.encore/log", feature_services(TARGETS.values()))
        )
    }
)
