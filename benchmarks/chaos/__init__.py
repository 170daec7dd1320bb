"""The chaos suite: the real processes under faults, and every feature compared with the truth afterwards."""
