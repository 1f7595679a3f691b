"""labnet.fabric (see docs/architecture.md)."""
