"""The help of the command line: its commands, settings and version."""
