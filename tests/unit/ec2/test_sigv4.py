"""Signatures: what botocore signs is good, whatever it signs, and nothing else is."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from labnet.ec2.sigv4 import Checker
from labnet.errors import Ec2Error

KEY, SECRET, REGION, HOST = "AKIAIOSFODNN7EXAMPLE", "a-secret-that-opens-nothing", "us-west-2", "127.0.0.1:9"
NOW_S = 1_700_000_000.0
STAMP = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW_S))
BODY = b"Action=X"


def checked(headers: dict[str, str], *, body: bytes = BODY, query: str = "", method: str = "POST", now_s: float = NOW_S) -> str:
    return Checker({KEY: SECRET}, REGION).signer(method, "/", query, headers, body, now_s)


def refused(headers: dict[str, str], **how: Any) -> Ec2Error:
    with pytest.raises(Ec2Error) as caught:
        checked(headers, **how)
    return caught.value


def signed(
    body: bytes = BODY, *, query: str = "", method: str = "POST", headers: dict[str, str] | None = None, region: str = REGION,
    service: str = "ec2", secret: str = SECRET, key: str = KEY,
) -> dict[str, str]:
    """Headers as botocore signs them, with lower-case names."""
    request = AWSRequest(method, f"http://{HOST}/" + (f"?{query}" if query else ""), {"Host": HOST, **(headers or {})}, body)
    request.context["timestamp"] = STAMP
    request.headers["X-Amz-Date"] = STAMP
    auth = SigV4Auth(Credentials(key, secret), service, region)
    auth._inject_signature_to_request(request, auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
    return {name.lower(): text for name, text in request.headers.items()}


def presigned(params: str, expires: int = 60) -> str:
    """The query of a URL as botocore signs it."""
    request = AWSRequest("GET", f"http://{HOST}/?{params}", {"Host": HOST})
    request.context["timestamp"] = STAMP
    auth = SigV4QueryAuth(Credentials(KEY, SECRET), "ec2", REGION, expires)
    auth._modify_request_before_signing(request)
    auth._inject_signature_to_request(request, auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
    return urlsplit(request.url).query


WORDS = st.text("abcXYZ019-_.~ %&=+/:*äé€\t", max_size=12)


@given(
    body=st.binary(max_size=60), method=st.sampled_from(("GET", "POST")), pairs=st.lists(st.tuples(WORDS, WORDS), max_size=5),
    extra=st.dictionaries(st.sampled_from(("content-type", "x-amz-target", "x-thing", "accept")), st.text("ab  cd,;", max_size=9), max_size=3),
)
def test_whatever_botocore_signs_is_good(body: bytes, method: str, pairs: list[tuple[str, str]], extra: dict[str, str]) -> None:
    from urllib.parse import quote

    query = "&".join(f"{quote(key, safe='-_.~')}={quote(text, safe='-_.~')}" for key, text in pairs)
    assert checked(signed(body, query=query, method=method, headers=extra), body=body, query=query, method=method) == KEY


@given(pairs=st.lists(st.tuples(WORDS.filter(bool), WORDS), max_size=5, unique_by=lambda pair: pair[0]), expires=st.integers(1, 604_800))
def test_whatever_botocore_presigns_is_good_until_it_ends(pairs: list[tuple[str, str]], expires: int) -> None:
    from urllib.parse import quote

    query = presigned("&".join(f"{quote(key, safe='')}={quote(text, safe='')}" for key, text in pairs), expires)
    asked = {"query": query, "method": "GET", "body": b""}
    assert checked({"host": HOST}, now_s=NOW_S + expires, **asked) == KEY  # type: ignore[arg-type]
    assert refused({"host": HOST}, now_s=NOW_S + expires + 1, **asked).code == "RequestExpired"


def test_a_query_encoded_after_it_was_signed_is_good_too() -> None:
    headers = signed(b"", query="Name=a%20b%2A", method="GET")
    assert checked(headers, body=b"", query="Name=a+b*", method="GET") == KEY


@pytest.mark.parametrize("change, code, status", [
    ({"authorization": ""}, "AuthFailure", 401), ({"authorization": "Bearer x"}, "AuthFailure", 401),
    ({"authorization": "AWS4-HMAC-SHA256 Credential=x"}, "AuthFailure", 401), ({"x-amz-date": "yesterday"}, "AuthFailure", 401),
    ({"x-amz-date": "20231399T000000Z"}, "AuthFailure", 401), ({"host": "elsewhere"}, "AuthFailure", 401),
    ({"x-amz-security-token": "borrowed"}, "AuthFailure", 401), ({"x-amz-content-sha256": "0" * 64}, "AuthFailure", 401),
    ({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, "AuthFailure", 401), ({"x-amz-date": "20200101T000000Z"}, "AuthFailure", 401),
])
def test_what_was_changed_on_the_way_is_noticed(change: dict[str, str], code: str, status: int) -> None:
    error = refused({**signed(), **change})
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize("old, new", [
    ("SignedHeaders=host;", "SignedHeaders=Host;"), ("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date;host"),
    ("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date"), ("SignedHeaders=host;", "SignedHeaders=absent;host;"),
    ("/aws4_request", "/aws5_request"), ("/aws4_request", ""), (KEY, "AKIAAAAAAAAAAAAAAAAA"), ("20231114", "20231113"),
    ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
])
def test_a_header_that_says_something_else_than_it_signed(old: str, new: str) -> None:
    headers = signed()
    assert old in headers["authorization"]
    error = refused({**headers, "authorization": headers["authorization"].replace(old, new)})
    assert (error.code, error.status) == ("AuthFailure", 401)


def test_every_digit_of_a_signature_counts() -> None:
    headers = signed()
    for place in (-1, -32, -64):
        digits = list(headers["authorization"])
        digits[place] = "0" if digits[place] != "0" else "1"
        assert refused({**headers, "authorization": "".join(digits)}).code == "AuthFailure"


def test_the_scope_is_this_region_and_this_service() -> None:
    assert refused(signed(region="eu-west-1")).message == "Credential should be scoped to a valid region, not 'eu-west-1'."
    assert refused(signed(service="s3")).message == "Credential should be scoped to correct service: 'ec2'."
    assert refused(signed(secret="another")).message == "AWS was not able to validate the provided access credentials"
    assert refused(signed(key="AKIAAAAAAAAAAAAAAAAA", region="eu-west-1")).message.startswith("AWS was not able")


@pytest.mark.parametrize("off_s, good", [(0, True), (300, True), (-300, True), (301, False), (-301, False), (86_400, False)])
def test_five_minutes_either_way(off_s: float, good: bool) -> None:
    headers = signed()
    if good:
        assert checked(headers, now_s=NOW_S + off_s) == KEY
        assert checked(headers, now_s=NOW_S + off_s) == KEY, "the same again is as good, as on AWS"
    else:
        error = refused(headers, now_s=NOW_S + off_s)
        assert (error.code, error.message) == ("RequestExpired", "Request has expired.")


def test_the_hash_of_the_body_may_be_declared_and_must_be_true() -> None:
    import hashlib

    good = hashlib.sha256(BODY).hexdigest()
    assert checked(signed(headers={"X-Amz-Content-SHA256": good})) == KEY
    assert refused(signed(headers={"X-Amz-Content-SHA256": good}), body=b"Action=Y").code == "AuthFailure"
    assert checked(signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}), body=b"Action=Y") == KEY, "signed as unsigned"


def test_another_body_than_signed_and_no_signature_at_all() -> None:
    assert refused(signed(), body=b"Action=Y").code == "AuthFailure"
    error = refused({"host": HOST})
    assert (error.code, error.status) == ("MissingAuthenticationToken", 403)


@pytest.mark.parametrize("old, new", [
    ("X-Amz-Expires=60", "X-Amz-Expires=61"), ("X-Amz-Expires=60", "X-Amz-Expires=0"), ("X-Amz-Expires=60", "X-Amz-Expires=x"),
    ("X-Amz-Expires=60&", ""), ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=none"), ("a=b", "a=c"),
    ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=999999"), ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
    ("X-Amz-Date=", "X-Amz-Date=x"), ("a=b", "a=b&X-Amz-Security-Token=t"),
])
def test_a_presigned_query_that_was_changed(old: str, new: str) -> None:
    query = presigned("a=b")
    assert old in query
    assert refused({"host": HOST}, query=query.replace(old, new), method="GET", body=b"").code == "AuthFailure"
