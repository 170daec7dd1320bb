output "values" {
  description = "Values of the Helm chart."
  value = templatefile("${path.module}/../values.yaml.tftpl", {
    image           = var.image
    kafka_servers   = aws_msk_cluster.encore.bootstrap_brokers_sasl_scram
    kafka_mechanism = "SCRAM-SHA-512"
    partitions      = var.partitions
    redis_host      = var.redis_shards > 1 ? aws_elasticache_replication_group.encore.configuration_endpoint_address : aws_elasticache_replication_group.encore.primary_endpoint_address
    redis_port      = 6379
    redis_cluster   = var.redis_shards > 1
    redis_ca        = false # Amazon's authority is in the image
    redis_replicas  = 1
    certificates    = ""
    storage         = "s3://${aws_s3_bucket.encore.bucket}/encore?region=${var.region}"
    api_replicas    = var.api_replicas
    workers         = var.workers
  })
}
