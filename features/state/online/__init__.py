"""The states in Redis, and what is kept there beside them: what should be there, whose it is, what is set aside."""
