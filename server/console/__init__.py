"""The console: a Streamlit app that shows a running system, a client of the API and of Encore's read functions."""
