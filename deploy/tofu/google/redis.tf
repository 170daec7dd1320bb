# Valkey. It keeps states in memory, in its replicas and in a file.

resource "google_network_connectivity_service_connection_policy" "redis" {
  name          = "${var.name}-redis"
  location      = var.region
  service_class = "gcp-memorystore"
  network       = var.network

  psc_config {
    subnetworks = [var.subnet]
  }
}

resource "google_memorystore_instance" "encore" {
  instance_id             = var.name
  location                = var.region
  mode                    = "CLUSTER"
  shard_count             = var.redis_shards
  replica_count           = 1
  node_type               = var.redis_node
  engine_version          = "VALKEY_8_0"
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  authorization_mode      = "AUTH_DISABLED" # else tokens of an hour, which Encore does not know; the network is the door
  depends_on              = [google_network_connectivity_service_connection_policy.redis]

  # Beyond its memory it refuses: a state that is dropped would be counted from nothing.
  engine_configs = {
    maxmemory-policy = "noeviction"
  }

  persistence_config {
    mode = "AOF"
    aof_config {
      append_fsync = "EVERY_SEC"
    }
  }

  desired_auto_created_endpoints {
    network    = var.network
    project_id = var.project
  }
}
