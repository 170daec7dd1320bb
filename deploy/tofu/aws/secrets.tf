# Passwords are in the state of `tofu` too: keep that encrypted, and where few can read it.

resource "random_password" "kafka" {
  length  = 40
  special = false
}

resource "random_password" "redis" {
  length  = 40
  special = false
}

# Kafka reads its own from a secret of this prefix, under a key of one's own.
resource "aws_kms_key" "encore" {
  description         = "Encore's secrets"
  enable_key_rotation = true
}

resource "aws_secretsmanager_secret" "kafka" {
  name       = "AmazonMSK_${var.name}"
  kms_key_id = aws_kms_key.encore.arn
}

resource "aws_secretsmanager_secret_version" "kafka" {
  secret_id     = aws_secretsmanager_secret.kafka.id
  secret_string = jsonencode({ username = var.name, password = random_password.kafka.result })
}

# What the chart's `secret` is made of.
resource "aws_secretsmanager_secret" "encore" {
  name       = var.name
  kms_key_id = aws_kms_key.encore.arn
}

resource "aws_secretsmanager_secret_version" "encore" {
  secret_id = aws_secretsmanager_secret.encore.id
  secret_string = jsonencode({
    KAFKA_USERNAME = var.name
    KAFKA_PASSWORD = random_password.kafka.result
    REDIS_PASSWORD = random_password.redis.result
  })
}
