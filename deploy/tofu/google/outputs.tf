output "values" {
  description = "Values of the Helm chart."
  value = templatefile("${path.module}/../values.yaml.tftpl", {
    image           = var.image
    kafka_servers   = "bootstrap.${var.name}.${var.region}.managedkafka.${var.project}.cloud.goog:9092"
    kafka_mechanism = "PLAIN"
    partitions      = var.partitions
    redis_host      = google_memorystore_instance.encore.endpoints[0].connections[0].psc_auto_connection[0].ip_address
    redis_port      = 6379
    redis_cluster   = true
    redis_ca        = true
    redis_replicas  = 1
    certificates    = "encore-certificates"
    storage         = "gs://${google_storage_bucket.encore.name}/encore"
    api_replicas    = var.api_replicas
    workers         = var.workers
  })
}

output "redis_ca" {
  description = "The certificates of the authority that vouches for Valkey."
  value       = join("\n", google_memorystore_instance.encore.managed_server_ca[0].ca_certs[0].certificates)
}
