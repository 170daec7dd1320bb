"""Forgetting a system."""

from typing import Annotated

import typer

from server.cli.terminal import Json, print_result
from server.settings import read_settings

__all__ = ["clean"]


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    leave_redis: Annotated[
        bool, typer.Option("--leave-redis", help="Delete the home alone, where its Redis is gone for good.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forget everything: delete the home with its history, features and models, and its states in Redis.

    It refuses while anything works in the home. Of a Redis of your own only the states and keys of this home's project
    are deleted; topics in a Kafka of your own are left, and so is the home's audit log.
    """
    from server.jobs.clean import clean_home, what_is_forgotten  # noqa: PLC0415

    settings = read_settings()
    targets = what_is_forgotten(settings, leave_redis=leave_redis)
    if targets.what and not yes:
        typer.confirm(f"Delete {' and '.join(targets.what)}?", abort=True)
    print_result({"forgotten": targets.what}, as_json, clean_home(settings, leave_redis=leave_redis))
