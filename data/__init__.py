"""Events, the event log, and where events come from: the synthetic shop and importers of public data sets."""
