"""The audit log: who changed what of a home, when, and from what to what."""
