"""A week of a running system, compressed: what it keeps on disk, in Redis and in memory, as retention lets go."""
