"""`python -m labnet.ec2.probe --endpoint-url URL`: make the checks and say what was found.

Exit codes: 0 every check passes · 2 usage · 3 one does not · 4 boto3 or credentials are missing. Credentials come from where
boto3 takes them. Objects are made and taken away again; at AWS itself that costs what instances and addresses cost.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labnet.ec2.probe.check import Result
    from labnet.ec2.probe.site import Endpoint

EXIT_FAILED_CHECKS = 3
EXIT_UNFIT = 4


def main(words: list[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(words)
    if importlib.util.find_spec("boto3") is None:
        sys.stderr.write("labnet.ec2.probe needs boto3: pip install boto3\n")
        return EXIT_UNFIT
    from labnet.ec2.probe.run import chosen, run
    from labnet.ec2.probe.site import Endpoint

    waits = (options.timeout, options.patience)
    endpoint = Endpoint(options.endpoint_url, options.region, options.image, *waits, options.denied, options.throttled)
    checks = chosen(endpoint, options.only)
    if options.list:
        for check in checks:
            sys.stdout.write(f"{check.name:<34} {check.group}: {check.row}\n")
        return 0
    if not checks:
        sys.stderr.write(f"no check is called {' or '.join(options.only)}; --list shows them\n")
        return 2
    if not endpoint.credentialed():
        sys.stderr.write('no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for a lab by eval "$(labnet env)"\n')
        return EXIT_UNFIT
    results = run(endpoint, checks, _told if sys.stderr.isatty() else lambda _result: None)
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    _report(results, endpoint, options)
    return 0 if all(one.passed for one in results) else EXIT_FAILED_CHECKS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m labnet.ec2.probe", description="Is an EC2 endpoint honest about networking?")
    url, region = os.environ.get("AWS_ENDPOINT_URL_EC2"), os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    parser.add_argument("--endpoint-url", metavar="URL", default=url, required=url is None, help="default: AWS_ENDPOINT_URL_EC2")
    parser.add_argument("--region", metavar="R", default=region or "us-west-2", help="default: AWS_REGION, else us-west-2")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write JUnit's XML too")
    parser.add_argument("--only", metavar="PATTERN", action="append", default=[], help="only checks of such a name (*, ?); more than once")
    parser.add_argument("--list", action="store_true", help="name the checks and make none")
    parser.add_argument("--image", metavar="AMI", default="ami-0123456789abcdef0", help="what instances start from; AWS wants a real one")
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=60.0, help="seconds for each check (60); AWS itself: 900")
    parser.add_argument("--patience", metavar="S", type=_seconds, default=10.0, help="seconds for a state to come (10); AWS itself: 300")
    parser.add_argument("--denied", metavar="ACTION", default="", help="an action that these credentials may not do: check it")
    parser.add_argument("--throttled", action="store_true", help="the endpoint throttles as EC2 does: check that it does")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return seconds


def _told(result: Result) -> None:
    sys.stderr.write(f"\r\033[K{'pass' if result.passed else 'FAIL'} {result.check.name}")
    sys.stderr.flush()


def _report(results: tuple[Result, ...], endpoint: Endpoint, options: argparse.Namespace) -> None:
    from labnet.ec2.probe import report

    if options.output == "json":
        sys.stdout.write(report.as_json(results, endpoint.url, endpoint.region) + "\n")
    else:
        sys.stdout.write(f"{endpoint.url}  {endpoint.region}\n\n{report.table(results)}\n")
    if options.junit is not None:
        options.junit.write_text(report.junit(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
