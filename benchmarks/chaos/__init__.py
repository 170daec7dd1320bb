"""The chaos suite: real processes under faults, and every feature compared with the ground truth afterwards."""
