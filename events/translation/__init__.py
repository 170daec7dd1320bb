"""Messages of another shape and order, passed on as this project's events."""
