"""`labnet`, and `python -m labnet`: where every command begins.

Loading the command line takes a moment in which Ctrl-C has nothing to take back: it ends quietly, as it does later.
"""

import sys


def main() -> int:
    """Run one command; the exit code."""
    try:
        from labnet.cli.main import main as command
    except KeyboardInterrupt:
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
