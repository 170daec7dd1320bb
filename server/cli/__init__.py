"""The `encore` command."""

from server.cli.commands import app
from server.cli.start import main

__all__ = ["app", "main"]
