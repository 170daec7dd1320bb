"""A project, its history and its features."""
