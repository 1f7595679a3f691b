"""Signature Version 4, the server's side: who signed a request, in the header or in the query (pure but for a cache of keys).

::

    canonical request    method, path, sorted query, signed headers, their names, hash of the body     → its SHA-256
    text to sign         AWS4-HMAC-SHA256, time, date/region/service/aws4_request, that hash           → HMAC by the day's key
    the day's key        HMAC chain of the secret over date, region, service                           → kept

Own code and not botocore's, which takes a request object apart again for each request (0.05 ms here, 0.16 ms there); tests hold
one against the other. Source: docs/sources.md#sigv4
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote_plus

from labnet.errors import Ec2Error
from labnet.model.values import frozen

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "ec2"
CLOCK_SKEW_S = 300.0
MAX_EXPIRES_S = 604_800
UNSIGNED = "UNSIGNED-PAYLOAD"
BODY_HASH = "x-amz-content-sha256"
PRESIGNED = frozenset((
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token",
))
"""What a signed query has beside the action's own parameters."""
_HEADER = re.compile(rf"{ALGORITHM} +Credential=([^\s,]+), *SignedHeaders=([^\s,]+), *Signature=([0-9a-f]{{64}})")
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEX = re.compile(r"[0-9a-f]{64}")


@frozen
class _Claim:
    """What a request says of its signature."""

    credential: str
    signed: str
    signature: str
    stamp: str
    expires_s: float | None = None


class Checker:
    """Checks signatures for one region. `keys` maps access keys to their secrets."""

    def __init__(self, keys: Mapping[str, str], region: str) -> None:
        self._keys, self._region = keys, region

    def signer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
        """The access key that signed a request. `query` as received, `headers` with lower-case names.

        Errors: Ec2Error as AWS tells them: no signature, an unknown key, a wrong scope or signature, a time too far off.
        """
        claim = _claim(query, headers)
        parts = claim.credential.split("/")
        names = claim.signed.split(";")
        if len(parts) != 5 or parts[4] != "aws4_request" or parts[0] not in self._keys:
            raise _not_validated()
        key, date, region, service, _end = parts
        if "host" not in names or names != sorted(set(names)) or claim.signed != claim.signed.lower() or not headers.keys() >= set(names):
            raise _not_validated()
        if "x-amz-security-token" in headers or "X-Amz-Security-Token" in query:  # the lab's keys have none: AWS refuses a token beside them
            raise _not_validated()
        if service != SERVICE:
            raise Ec2Error("AuthFailure", f"Credential should be scoped to correct service: '{SERVICE}'.", 401)
        if region != self._region:
            raise Ec2Error("AuthFailure", f"Credential should be scoped to a valid region, not '{region}'.", 401)
        if date != claim.stamp[:8]:
            raise _not_validated()
        _check_time(claim, now_s)
        payload = _payload(headers, names, body)
        said = "\n".join(f"{name}:{' '.join(headers[name].split())}" for name in names)
        good = False
        for text in _canonical_queries(query):
            canonical = f"{method}\n{path}\n{text}\n{said}\n\n{claim.signed}\n{payload}"
            to_sign = f"{ALGORITHM}\n{claim.stamp}\n{date}/{region}/{service}/aws4_request\n{hashlib.sha256(canonical.encode()).hexdigest()}"
            expected = hmac.digest(day_key(self._keys[key], date, region, service), to_sign.encode(), "sha256").hex()
            good |= hmac.compare_digest(expected, claim.signature)
        if not good:
            raise _not_validated()
        return key


@lru_cache(maxsize=16)
def day_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that signs a day's requests to a service of a region."""
    key = f"AWS4{secret}".encode()
    for word in (date, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key


def _claim(query: str, headers: Mapping[str, str]) -> _Claim:
    """What the header or the query says. Errors: Ec2Error."""
    if "authorization" in headers:
        found = _HEADER.fullmatch(headers["authorization"].strip())
        stamp = headers.get("x-amz-date", "")
        if found is None or _STAMP.fullmatch(stamp) is None:
            raise _not_validated()
        return _Claim(found[1], found[2], found[3], stamp)
    if "X-Amz-Signature" not in query:
        raise Ec2Error("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    pairs = parse_qsl(query, keep_blank_values=True)
    words = dict(pairs)
    signature, stamp, expires = words.get("X-Amz-Signature", ""), words.get("X-Amz-Date", ""), words.get("X-Amz-Expires", "")
    whole = words.get("X-Amz-Algorithm") == ALGORITHM and _HEX.fullmatch(signature) and _STAMP.fullmatch(stamp)
    once = sum(name in PRESIGNED for name, _ in pairs) == len(PRESIGNED & words.keys())
    if not whole or not once or re.fullmatch(r"[0-9]{1,6}", expires) is None or not 1 <= int(expires) <= MAX_EXPIRES_S:
        raise _not_validated()
    return _Claim(words.get("X-Amz-Credential", ""), words.get("X-Amz-SignedHeaders", ""), signature, stamp, float(expires))


def _check_time(claim: _Claim, now_s: float) -> None:
    """Errors: Ec2Error RequestExpired for what was signed too long ago, or is not yet."""
    try:
        made_s = datetime.fromisoformat(claim.stamp).timestamp()
    except ValueError as error:
        raise _not_validated() from error
    good_for_s = CLOCK_SKEW_S if claim.expires_s is None else claim.expires_s
    if not -CLOCK_SKEW_S <= now_s - made_s <= good_for_s:
        raise Ec2Error("RequestExpired", "Request has expired.")


def _payload(headers: Mapping[str, str], names: list[str], body: bytes) -> str:
    """The body's part of a canonical request: its hash, or the word for none where the client signed that word. Errors: Ec2Error."""
    declared = headers.get(BODY_HASH)
    if declared == UNSIGNED and BODY_HASH in names:
        return UNSIGNED
    actual = hashlib.sha256(body).hexdigest()
    if declared is not None and not hmac.compare_digest(declared.lower().encode(), actual.encode()):
        raise _not_validated()
    return actual


def _canonical_queries(query: str) -> list[str]:
    """The sorted query as received, and as RFC 3986 writes it where that differs: clients encode before or after they sign."""
    if not query:
        return [""]
    pairs = [part.partition("=")[::2] for part in query.split("&") if not part.startswith("X-Amz-Signature=")]
    strict = [(quote(unquote_plus(key), safe="-_.~"), quote(unquote_plus(text), safe="-_.~")) for key, text in pairs]
    return list(dict.fromkeys("&".join(f"{key}={text}" for key, text in sorted(some)) for some in (pairs, strict)))


def _not_validated() -> Ec2Error:
    return Ec2Error("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
