"""Make the checks, one after the other, each at a site of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from labnet.ec2.probe.check import Check, Refusal, Result, Wrong
from labnet.ec2.probe.checks import all_checks
from labnet.ec2.probe.site import Endpoint, Site


def chosen(endpoint: Endpoint, patterns: Iterable[str] = ()) -> tuple[Check, ...]:
    """The checks that make sense at an endpoint; of these the ones whose name matches one of the patterns, if there are any."""
    sensible = [one for one in all_checks() if not one.needs or getattr(endpoint, one.needs)]
    wanted = tuple(patterns)
    return tuple(one for one in sensible if not wanted or any(fnmatchcase(one.name, pattern) for pattern in wanted))


def run(endpoint: Endpoint, checks: Iterable[Check], told: Callable[[Result], None] = lambda _result: None) -> tuple[Result, ...]:
    """Every check's result; `told` hears of each as it ends. An endpoint that is not there fails them all."""
    client = endpoint.client()
    results = []
    for check in checks:
        result = one(endpoint, client, check)
        told(result)
        results.append(result)
    return tuple(results)


def one(endpoint: Endpoint, client: object, check: Check) -> Result:
    """One check, and afterwards everything that it made taken away, whatever happened."""
    start_s = time.monotonic()
    site = Site(endpoint, client)
    reason = ""
    try:
        check.body(site)
    except (Wrong, Refusal) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - an answer may lack or hold anything: that is a verdict on it, and the next check is made
        reason = f"the answer is not AWS's: {type(error).__name__}: {error}"
    finally:
        left = site.clean_up()
    return Result(check, reason, time.monotonic() - start_s, left)
