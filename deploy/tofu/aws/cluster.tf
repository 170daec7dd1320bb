# Kubernetes, which runs Encore's own parts.

resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["eks.amazonaws.com"].json
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_eks_cluster" "encore" {
  name       = var.name
  role_arn   = aws_iam_role.cluster.arn
  depends_on = [aws_iam_role_policy_attachment.cluster]

  vpc_config {
    subnet_ids = var.subnet_ids
  }

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }
}

resource "aws_iam_role" "nodes" {
  name               = "${var.name}-nodes"
  assume_role_policy = data.aws_iam_policy_document.assumed_by["ec2.amazonaws.com"].json
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.nodes.name
  policy_arn = "arn:aws:iam::aws:policy/${each.key}"
}

resource "aws_eks_node_group" "encore" {
  cluster_name    = aws_eks_cluster.encore.name
  node_group_name = var.name
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  ami_type        = "AL2023_x86_64_STANDARD" # as the released image
  instance_types  = [var.node]
  depends_on      = [aws_iam_role_policy_attachment.nodes]

  scaling_config {
    desired_size = var.nodes
    min_size     = var.nodes
    max_size     = var.nodes + 2
  }
}

# Which role a pod has is the first one's work; what autoscaling looks at, the second's.
resource "aws_eks_addon" "encore" {
  for_each     = toset(["eks-pod-identity-agent", "metrics-server"])
  cluster_name = aws_eks_cluster.encore.name
  addon_name   = each.key
  depends_on   = [aws_eks_node_group.encore]
}

data "aws_iam_policy_document" "assumed_by" {
  for_each = toset(["eks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com"])

  statement {
    actions = each.key == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [each.key]
    }
  }
}
