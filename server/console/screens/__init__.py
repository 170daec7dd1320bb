"""The console's pages, one per file: each draws what the calculators have computed.

Not named `pages`: Streamlit would serve such a folder beside its app by itself.
"""

from server.console.screens.catalogue import SCREENS

__all__ = ["SCREENS"]
