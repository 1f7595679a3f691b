"""labnet.kube (see docs/architecture.md)."""
