"""The `encore` command."""

from server.cli.commands import app, main

__all__ = ["app", "main"]
