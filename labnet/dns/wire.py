"""DNS messages: a query's bytes → the answer's bytes, whatever the bytes are. Loaded late: the DNS library takes its time.

What is no query at all gets no answer; what cannot be understood gets FORMERR, as resolvers do, so that a client need not wait.
"""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from labnet.dns.records import Lookup, Record, Reply

HEADER_BYTES = 12
UDP_BYTES = 512
"""The largest answer over UDP to who says nothing of sizes."""
OUR_UDP_BYTES = 1232
TCP_BYTES = 65_535
_TRANSFERS = ("AXFR", "IXFR", "MAILA", "MAILB")


def respond(lookup: Lookup, data: bytes, *, tcp: bool) -> bytes | None:
    """The answer to one message, None for none. Never raises for what a stranger sent."""
    if len(data) < HEADER_BYTES or data[2] & 0x80:
        return None  # no header, or itself an answer: two servers must not talk for ever
    try:
        query = dns.message.from_wire(data)
    except Exception:  # noqa: BLE001 - bytes of a stranger in a library's parser: whatever it says, it is a malformed query
        return _malformed(data)
    answer = dns.message.make_response(query, recursion_available=True, our_payload=OUR_UDP_BYTES)
    refusal = _refusal(query)
    if refusal is not None:
        answer.set_rcode(refusal)
    else:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        reply = lookup("" if question.name == dns.name.root else name, dns.rdatatype.to_text(question.rdtype))
        if reply is None:
            return None
        _fill(answer, question.name, name, reply)
    size = TCP_BYTES if tcp else max(UDP_BYTES, min(query.payload, OUR_UDP_BYTES) if query.edns >= 0 else 0)
    return bytes(answer.to_wire(max_size=size, prefer_truncation=True))


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    """Why a well-formed message is not answered; None when it is."""
    if query.edns > 0:
        return dns.rcode.BADVERS
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN or dns.rdatatype.to_text(question.rdtype) in _TRANSFERS:
        return dns.rcode.REFUSED
    return None


def _malformed(data: bytes) -> bytes:
    """FORMERR: the query's id, opcode and RD, and nothing of what could not be read."""
    return data[:2] + bytes((0x80 | data[2] & 0x79, 0x80 | dns.rcode.FORMERR)) + bytes(HEADER_BYTES - 4)


def _fill(answer: dns.message.Message, asked: dns.name.Name, name: str, reply: Reply) -> None:
    answer.set_rcode(dns.rcode.from_text(reply.code))
    for section, records in ((answer.answer, reply.answers), (answer.authority, reply.authority)):
        section.extend(_rrset(asked if one.name == name else dns.name.from_text(one.name or "."), one) for one in records)


def _rrset(owner: dns.name.Name, record: Record) -> dns.rrset.RRset:
    """One record under a name, which is written as the asker wrote it: some compare letter by letter."""
    return dns.rrset.from_text(owner, record.ttl_s, "IN", record.type, record.value)
