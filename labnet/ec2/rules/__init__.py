"""labnet.ec2.rules (see docs/architecture.md)."""
