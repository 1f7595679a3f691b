"""labnet.ec2.tables (see docs/architecture.md)."""
