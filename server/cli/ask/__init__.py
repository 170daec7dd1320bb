"""How a system is, and whether its answers are true."""
