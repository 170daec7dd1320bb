resource "aws_security_group" "kafka" {
  name   = "${var.name}-kafka"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "kafka" {
  security_group_id            = aws_security_group.kafka.id
  referenced_security_group_id = aws_eks_cluster.encore.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9096
  to_port                      = 9096
}

# Encore makes its topics itself; a message far too large must reach the worker, to be dead-lettered with its reason.
resource "aws_msk_configuration" "encore" {
  name              = var.name
  server_properties = <<-EOT
    auto.create.topics.enable=false
    default.replication.factor=3
    min.insync.replicas=2
    message.max.bytes=16777216
  EOT
}

resource "aws_msk_cluster" "encore" {
  cluster_name           = var.name
  kafka_version          = var.kafka_version
  number_of_broker_nodes = length(var.subnet_ids)

  broker_node_group_info {
    instance_type   = var.kafka_node
    client_subnets  = var.subnet_ids
    security_groups = [aws_security_group.kafka.id]

    storage_info {
      ebs_storage_info {
        volume_size = var.kafka_disk_gb
      }
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.encore.arn
    revision = aws_msk_configuration.encore.latest_revision
  }

  client_authentication {
    sasl {
      scram = true
    }
  }

  encryption_info {
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  lifecycle {
    precondition {
      condition     = length(var.subnet_ids) >= 3
      error_message = "Three copies of everything need three brokers, each in a subnet of its own."
    }
  }
}

resource "aws_msk_scram_secret_association" "encore" {
  cluster_arn     = aws_msk_cluster.encore.arn
  secret_arn_list = [aws_secretsmanager_secret.kafka.arn]
  depends_on      = [aws_secretsmanager_secret_version.kafka]
}
