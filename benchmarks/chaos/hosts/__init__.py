"""Hosts of a chaos run: network namespaces of this machine, and what runs on which."""
