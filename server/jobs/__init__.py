"""What the `encore` commands do."""
