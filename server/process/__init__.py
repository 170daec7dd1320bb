"""Processes on this machine: the servers that run beside Encore, and our own commands as children."""
