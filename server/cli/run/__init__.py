"""All of a system, or one part of it."""
