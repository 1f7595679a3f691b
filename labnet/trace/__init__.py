"""labnet.trace (see docs/architecture.md)."""
