"""The console's pages, one per file: each draws what the nouns beside this package have worked out."""

from server.console.pages.catalogue import SCREENS

__all__ = ["SCREENS"]
