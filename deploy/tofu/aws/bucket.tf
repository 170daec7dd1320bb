# The event log, kept predictions and models; and the role by which Encore's pods reach them.

resource "aws_s3_bucket" "encore" {
  bucket_prefix = "${var.name}-"
}

resource "aws_s3_bucket_public_access_block" "encore" {
  bucket                  = aws_s3_bucket.encore.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Takes the place of `encore backup`. What `encore forget` took out stays in old versions until they go.
resource "aws_s3_bucket_versioning" "encore" {
  bucket = aws_s3_bucket.encore.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "encore" {
  bucket = aws_s3_bucket.encore.id

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

resource "aws_iam_role" "encore" {
  name               = "${var.name}-pods"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["pods.eks.amazonaws.com"].json
}

data "aws_iam_policy_document" "bucket" {
  statement {
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.encore.arn]
  }

  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.encore.arn}/*"]
  }
}

resource "aws_iam_role_policy" "bucket" {
  name   = "bucket"
  role   = aws_iam_role.encore.id
  policy = data.aws_iam_policy_document.bucket.json
}

resource "aws_eks_pod_identity_association" "encore" {
  cluster_name    = aws_eks_cluster.encore.name
  namespace       = "default"
  service_account = "encore"
  role_arn        = aws_iam_role.encore.arn
}
