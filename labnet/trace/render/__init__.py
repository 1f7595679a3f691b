"""labnet.trace.render (see docs/architecture.md)."""
