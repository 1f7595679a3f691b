"""labnet.ipamd (see docs/architecture.md)."""
