"""labnet.kernel (see docs/architecture.md)."""
