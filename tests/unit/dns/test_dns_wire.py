"""Messages: what is answered how, and that nothing a stranger sends ever raises."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labnet.dns import internet, wire
from labnet.dns.records import Record, Reply


def respond(query: dns.message.Message, *, tcp: bool = False, lookup: wire.Lookup = internet.lookup) -> dns.message.Message:
    answer = wire.respond(lookup, query.to_wire(), tcp=tcp)
    assert answer is not None
    return dns.message.from_wire(answer)


def test_an_answer_repeats_the_question_and_its_spelling() -> None:
    query = dns.message.make_query("ExAmple.COM", "A")
    answer = respond(query)
    assert answer.id == query.id and answer.question == query.question
    assert answer.flags & dns.flags.QR and answer.flags & dns.flags.RA and answer.flags & dns.flags.RD
    assert [one.to_text() for one in answer.answer] == ["ExAmple.COM. 300 IN A 192.0.2.10"]


def test_no_such_name_comes_with_the_zone_that_says_so() -> None:
    answer = respond(dns.message.make_query("nowhere.test", "A"))
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].to_text().startswith(". 900 IN SOA a.root-servers.net.")


def test_a_lookup_that_says_nothing_gets_no_answer() -> None:
    assert wire.respond(lambda name, kind: None, dns.message.make_query("a.b", "A").to_wire(), tcp=False) is None


def test_what_is_not_for_a_resolver_is_refused_by_its_code() -> None:
    assert respond(dns.message.make_query("example.com", "AXFR"), tcp=True).rcode() == dns.rcode.REFUSED
    assert respond(dns.message.make_query("example.com", "A", "CH")).rcode() == dns.rcode.REFUSED
    notify = dns.message.make_query("example.com", "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    assert respond(notify).rcode() == dns.rcode.NOTIMP
    newer = dns.message.make_query("example.com", "A", use_edns=1)
    assert respond(newer).rcode() == dns.rcode.BADVERS
    nothing = dns.message.Message()
    assert respond(nothing).rcode() == dns.rcode.FORMERR
    two = dns.message.make_query("example.com", "A")
    two.question += dns.message.make_query("dns.google", "A").question
    assert respond(two).rcode() == dns.rcode.FORMERR


def test_edns_is_answered_with_edns() -> None:
    assert respond(dns.message.make_query("example.com", "A", use_edns=0, payload=4096)).payload == wire.OUR_UDP_BYTES
    assert respond(dns.message.make_query("example.com", "A", use_edns=False)).edns == -1


def many(name: str, kind: str) -> Reply:
    return Reply("NOERROR", tuple(Record(name, "TXT", f'"{number:0200d}"') for number in range(9)))


def test_what_is_too_large_for_a_datagram_is_cut_and_whole_over_tcp() -> None:
    query = dns.message.make_query("example.com", "TXT", use_edns=False)
    data = wire.respond(many, query.to_wire(), tcp=False)
    assert data is not None and len(data) <= 512 and dns.message.from_wire(data).flags & dns.flags.TC
    whole = respond(query, tcp=True, lookup=many)
    assert not whole.flags & dns.flags.TC and len(whole.answer[0] if len(whole.answer) == 1 else whole.answer) == 9
    larger = wire.respond(many, dns.message.make_query("example.com", "TXT", payload=60_000).to_wire(), tcp=False)
    assert larger is not None and 512 < len(larger) <= wire.OUR_UDP_BYTES


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 11, b"\0\1\x80\0" + bytes(8)])
def test_what_is_no_query_gets_no_answer(data: bytes) -> None:
    assert wire.respond(internet.lookup, data, tcp=False) is None


@pytest.mark.parametrize(
    "rest",
    [
        b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", b"\0\1\0\0\0\0\0\0\x3fabc", b"\xff\xff\xff\xff\xff\xff\xff\xff" + b"\0" * 40,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_so(rest: bytes) -> None:
    answer = wire.respond(internet.lookup, b"\xab\xcd\x01\0" + rest, tcp=False)
    assert answer == b"\xab\xcd\x81\x81" + bytes(8), "a pointer to itself, a name that ends early, and counts of what is not there"


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_raise(data: bytes, tcp: bool) -> None:
    answer = wire.respond(internet.lookup, data, tcp=tcp)
    assert answer is None or answer[:2] == data[:2]


@given(st.data())
def test_no_change_of_a_good_query_raises(data: st.DataObject) -> None:
    good = bytearray(dns.message.make_query("www.example.com", "A", use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")]).to_wire())
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    wire.respond(internet.lookup, bytes(good), tcp=data.draw(st.booleans()))
