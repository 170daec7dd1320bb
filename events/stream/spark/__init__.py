"""The stream as a Spark job: Spark reads the topic, and the same fold runs on its executors, in its tasks."""
