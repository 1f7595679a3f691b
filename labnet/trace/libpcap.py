"""Filter texts, compiled by libpcap, the library behind tcpdump and Wireshark, as its own dump of instructions.

Called through ctypes, four functions: no program has to be started, and what libpcap says of a bad text is passed on. scapy's
`compile_filter` asks the same library, but says only that it failed, and loading it takes most of a second.
Source: docs/sources.md#filter-texts
"""

from __future__ import annotations

import ctypes

from labnet.errors import PrerequisiteError, UsageError
from labnet.trace.bpf import EVERYTHING, WHOLE, Program

LIBRARY = "libpcap.so.0.8"
OTHER_NAME = "libpcap.so.1"
ETHERNET = 1
NO_NETMASK = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    """`struct bpf_insn`."""

    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Code(ctypes.Structure):
    """`struct bpf_program`."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile_filter(text: str) -> Program:
    """The program for a filter text as tcpdump takes it, on Ethernet; for "" one that lets all pass.

    Errors: UsageError with libpcap's words; PrerequisiteError where there is no libpcap.
    """
    if not text.strip():
        return EVERYTHING
    library = _library()
    handle = library.pcap_open_dead(ETHERNET, WHOLE)
    if not handle:
        raise PrerequisiteError("libpcap gives no handle", "is there memory left?")
    try:
        code = _Code()
        if library.pcap_compile(handle, ctypes.byref(code), text.encode(), 1, NO_NETMASK) != 0:
            said = ctypes.string_at(library.pcap_geterr(handle)).decode(errors="replace")
            raise UsageError(f"filter {text!r}: {said}", "'man pcap-filter' tells the words: --filter 'tcp port 80 and host 10.10.2.6'")
        try:
            steps = (code.instructions[number] for number in range(code.length))
            return tuple((step.code, step.jt, step.jf, step.k) for step in steps)
        finally:
            library.pcap_freecode(ctypes.byref(code))
    finally:
        library.pcap_close(handle)


def _library() -> ctypes.CDLL:
    for name in (LIBRARY, OTHER_NAME):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_compile.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Code), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32)
        library.pcap_geterr.argtypes = (ctypes.c_void_p,)
        library.pcap_geterr.restype = ctypes.c_void_p
        library.pcap_freecode.argtypes = (ctypes.POINTER(_Code),)
        library.pcap_freecode.restype = None
        library.pcap_close.argtypes = (ctypes.c_void_p,)
        library.pcap_close.restype = None
        return library
    hint = "apt-get install libpcap0.8, or capture without --filter"
    raise PrerequisiteError(f"a filter text needs libpcap, and {LIBRARY} is not here", hint, missing=("libpcap0.8",))
