# The event log, kept predictions and models; and what Encore's pods may do there.

resource "google_storage_bucket" "encore" {
  name                        = "${var.project}-${var.name}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Takes the place of `encore backup`. What `encore forget` took out stays in old versions until they go.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
    }
  }
}

resource "google_storage_bucket_iam_member" "encore" {
  bucket     = google_storage_bucket.encore.name
  role       = "roles/storage.objectUser"
  member     = "principal://iam.googleapis.com/projects/${data.google_project.encore.number}/locations/global/workloadIdentityPools/${var.project}.svc.id.goog/subject/ns/default/sa/encore"
  depends_on = [google_container_cluster.encore] # which makes the pool
}
