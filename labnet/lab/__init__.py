"""labnet.lab (see docs/architecture.md)."""
