"""Rollouts: replacing the live states by others while the system runs."""
