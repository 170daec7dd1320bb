"""A compressed week of a running system: what it keeps on disk, in Redis and in memory under retention."""
