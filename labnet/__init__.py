"""labnet: AWS container networking on one Linux machine, with no AWS account."""

__version__ = "0.1.0"
