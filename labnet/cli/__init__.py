"""labnet.cli (see docs/architecture.md)."""
