"""Keys of the API."""

from datetime import datetime
from typing import Annotated

import typer

from server.api_keys import Role, make_key
from server.cli.terminal import Json, print_result

__all__ = ["key"]


def key(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[
        Role, typer.Option(help="`score` asks for scores alone, `read` sees all, `operate` changes models.")
    ] = "read",
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day (UTC) on which it holds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key: the secret for its bearer, and what ENCORE_API_KEYS keeps of it."""
    try:
        secret, api_key = make_key(name, role, until.date() if until else None)
    except ValueError as error:
        raise typer.BadParameter("a name is 1 to 32 of a-z, 0-9, _ and -, and begins with a letter") from error
    print_result(
        {"secret": secret, "key": str(api_key)}, as_json, f"secret (shown once): {secret}\nENCORE_API_KEYS={api_key}"
    )
