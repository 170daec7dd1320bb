# Where. The network is yours, with a subnet in the region.

variable "project" {
  type = string
}

variable "region" {
  type = string
}

variable "network" {
  description = "projects/PROJECT/global/networks/NAME"
  type        = string
}

variable "subnet" {
  description = "projects/PROJECT/regions/REGION/subnetworks/NAME"
  type        = string
}

variable "name" {
  type    = string
  default = "encore"
}

variable "image" {
  description = "Encore's image in a registry of yours, without its tag."
  type        = string
}

# How much: what `encore plan` says of your load. The defaults are for 5,000 events/s, 10,000,000 users, 2,000 answers/s.

variable "workers" {
  description = "Line `workers`."
  type        = number
  default     = 1
}

variable "partitions" {
  description = "Line `partitions`. More of them later move users."
  type        = number
  default     = 4
}

variable "api_replicas" {
  description = "Line `API replicas`, and one more than it says where one may be away."
  type        = number
  default     = 2
}

variable "redis_shards" {
  description = "Line `Redis shards`."
  type        = number
  default     = 4 # three of 13 GB would be too few for 47.9 GB
}

variable "redis_node" {
  description = "A node with at least line `Redis memory`, divided by the shards."
  type        = string
  default     = "HIGHMEM_MEDIUM" # 13 GB
}

variable "kafka_cores" {
  description = "At least 3. The service grows its disks by itself."
  type        = number
  default     = 3
}
