"""`python -m labnet`."""

import sys

from labnet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
