"""The console's pages, one per file: each draws what the calculators have worked out.

Streamlit would serve a folder named `pages` beside its app by itself.
"""

from server.console.screens.catalogue import SCREENS

__all__ = ["SCREENS"]
