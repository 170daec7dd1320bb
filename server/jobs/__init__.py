"""The work behind the `encore` commands."""
