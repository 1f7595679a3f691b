"""labnet.ec2 (see docs/architecture.md)."""
