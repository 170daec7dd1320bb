resource "google_managed_kafka_cluster" "encore" {
  cluster_id = var.name
  location   = var.region

  capacity_config {
    vcpu_count   = var.kafka_cores
    memory_bytes = var.kafka_cores * 4 * 1024 * 1024 * 1024
  }

  gcp_config {
    access_config {
      network_configs {
        subnet = var.subnet
      }
    }
  }
}

# Kafka's name and password are an account and its key: Encore does not know Google's tokens.
resource "google_service_account" "kafka" {
  account_id = "${var.name}-kafka"
}

resource "google_service_account_key" "kafka" {
  service_account_id = google_service_account.kafka.name
}

resource "google_project_iam_member" "kafka" {
  project = var.project
  role    = "roles/managedkafka.client"
  member  = "serviceAccount:${google_service_account.kafka.email}"
}
