"""The console: a Streamlit app that shows a running system. A client of the API and of Encore's own read functions."""
