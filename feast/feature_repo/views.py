"""What `feast apply` registers: everything is made from features/definitions.py."""

from features.compiler import compile_plan
from features.feast_views import feast_objects
from model.targets import TARGETS

# Feast finds its objects by looking at this module's attributes.
globals().update(
    {
        f"object_{place}": made
        for place, made in enumerate(feast_objects(compile_plan(), "../../.encore/log", tuple(TARGETS)))
    }
)
