"""Whether every path gives what Featuretools gives."""
