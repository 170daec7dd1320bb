"""What the command line says of itself: its commands, its settings, its version."""
