"""The stream as a Spark job, for `spark-submit`: `encore stream --engine spark` in the session that this makes.

spark-submit --master spark://host:7077 --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.4 \
    deploy/spark/stream.py --name spark-1 --checkpoint s3a://bucket/checkpoint
"""

import sys

from pyspark.sql import SparkSession

from server.cli import main

if __name__ == "__main__":
    SparkSession.builder.appName("encore-stream").getOrCreate()
    sys.argv[1:1] = ["stream", "--engine", "spark"]
    main()
