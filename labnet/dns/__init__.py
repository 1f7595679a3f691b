"""Names: what the resolver of a VPC and those of the Internet answer, from EC2's state alone, and how on the wire."""
