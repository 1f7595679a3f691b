"""labnet.cni (see docs/architecture.md)."""
