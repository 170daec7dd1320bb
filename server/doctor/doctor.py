"""`encore doctor`: everything that can be wrong with a deployment, looked at in the order in which it matters."""

from collections.abc import Iterator

from data.errors import ConfigurationError
from server.doctor.finding import Finding, told
from server.doctor.machine import look_at_machine
from server.doctor.project import look_at_project
from server.doctor.services import look_at_services
from server.doctor.store import look_at_store
from server.doctor.stream import look_at_stream
from server.settings import read_settings

__all__ = ["examine"]


def examine(sample: int) -> Iterator[Finding]:
    """Run all checks, and yield each finding as it is made; `sample` entities of each kind are compared (0: none)."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        yield told("settings", str(error).removeprefix("settings: "))
        return
    yield from look_at_machine(settings)
    yield from look_at_store(settings)
    yield from look_at_stream(settings)
    yield from look_at_services(settings)
    yield from look_at_project(settings, sample)
