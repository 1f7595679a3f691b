"""labnet.cni.vpc (see docs/architecture.md)."""
