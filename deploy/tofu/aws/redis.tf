# Valkey. It keeps states in memory and in its replicas; when all of a shard's nodes are lost, `encore rebuild` makes them anew.

resource "aws_security_group" "redis" {
  name   = "${var.name}-redis"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  security_group_id            = aws_security_group.redis.id
  referenced_security_group_id = aws_eks_cluster.encore.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_subnet_group" "encore" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "encore" {
  name   = var.name
  family = "valkey8"

  parameter {
    name  = "cluster-enabled"
    value = var.redis_shards > 1 ? "yes" : "no"
  }

  # Beyond its memory it refuses: a state that is dropped would be counted from nothing.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  parameter {
    name  = "hash-max-listpack-value"
    value = "512"
  }
}

resource "aws_elasticache_replication_group" "encore" {
  replication_group_id       = var.name
  description                = "Encore's states"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.redis_node
  num_node_groups            = var.redis_shards
  replicas_per_node_group    = 1
  automatic_failover_enabled = true
  multi_az_enabled           = true
  parameter_group_name       = aws_elasticache_parameter_group.encore.name
  subnet_group_name          = aws_elasticache_subnet_group.encore.name
  security_group_ids         = [aws_security_group.redis.id]
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = random_password.redis.result
  snapshot_retention_limit   = 1
}
