"""The state of an entity: what it keeps, how events are folded in, and where it is stored."""
