"""The stream worker and its parts."""
