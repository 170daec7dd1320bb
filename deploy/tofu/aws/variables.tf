# Where. The network is yours: private subnets in as many zones as there are to be brokers.

variable "region" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
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
  default     = 3
}

variable "redis_node" {
  description = "A node with at least line `Redis memory`, divided by the shards."
  type        = string
  default     = "cache.r7g.xlarge" # 26 GB
}

variable "kafka_node" {
  type    = string
  default = "kafka.m7g.large"
}

variable "kafka_disk_gb" {
  description = "Line `Kafka disk`, divided by the brokers."
  type        = number
  default     = 1200
}

variable "kafka_version" {
  description = "3.6 or newer; `aws kafka list-kafka-versions` lists what there is."
  type        = string
  default     = "3.9.x"
}

variable "node" {
  description = "The machines of workers, API, monitor and the first build, which wants 4 GB for a while."
  type        = string
  default     = "m7i.xlarge"
}

variable "nodes" {
  type    = number
  default = 2
}
