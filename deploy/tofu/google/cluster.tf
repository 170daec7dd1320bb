# Kubernetes, which runs Encore's own parts and brings machines for them.
resource "google_container_cluster" "encore" {
  name             = var.name
  location         = var.region
  network          = var.network
  subnetwork       = var.subnet
  enable_autopilot = true
}
