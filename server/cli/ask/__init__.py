"""How a system is, and whether what it says is true."""
