# The key is in the state of `tofu` too: keep that encrypted, and where few can read it.

resource "google_secret_manager_secret" "encore" {
  secret_id = var.name

  replication {
    auto {}
  }
}

# What the chart's `secret` is made of.
resource "google_secret_manager_secret_version" "encore" {
  secret = google_secret_manager_secret.encore.id
  secret_data = jsonencode({
    KAFKA_USERNAME = google_service_account.kafka.email
    KAFKA_PASSWORD = google_service_account_key.kafka.private_key
  })
}
