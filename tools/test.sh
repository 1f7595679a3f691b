#!/bin/bash
# Run pytest with these arguments; what failed is run once more with nothing beside it, and said to be so (docs/adr/0009).
# A behaviour that is broken fails both times; a packet that waited behind other tests on a busy machine does not.
set -uo pipefail
pytest() { "${VENV:-.venv}/bin/python" -m pytest "$@"; }
pytest --cache-clear "$@"
status=$?
[ "$status" = 1 ] || exit "$status"
echo
echo "Failed above; once more, with nothing beside it. What passes now depends on the machine's load: mend the test's patience."
pytest --last-failed --last-failed-no-failures=none -n 0 -rA --tb=short
