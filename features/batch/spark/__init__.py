"""Batch on Spark, past one machine: the same expressions that DuckDB runs, over the files of the same log."""
