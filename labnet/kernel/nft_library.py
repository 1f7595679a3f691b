"""What `nft` does, by its own library in this process: starting the program costs ten times as much as what it then does.

Where the library cannot be loaded, and what it refuses, is left to the program: that one names the line of a mistake.
"""

from __future__ import annotations

import ctypes
from functools import cache

from labnet.kernel import command
from labnet.kernel.netns import enter
from labnet.ports import ProgramResult

LIBRARY = "libnftables.so.1"
STATELESS = 1 << 2
"""Without counts, as ``nft -s``."""


def run(fd: int, netns: str, script: str) -> ProgramResult:
    """Give commands to nftables in a namespace, in one transaction: as ``nft -s -f -`` with that text. Errors: KernelError."""
    library = loaded()
    said = _listed(library, fd, script) if library is not None else None
    return ProgramResult(0, said, "") if said is not None else command.run(fd, netns, ["nft", "-s", "-f", "-"], script)


def _listed(library: ctypes.PyDLL, fd: int, script: str) -> str | None:
    """What the commands list, None when they fail: then nothing is changed."""
    with enter(fd):
        context = library.nft_ctx_new(0)  # its socket is one of the namespace that the thread is in
    if not context:
        return None
    try:
        library.nft_ctx_output_set_flags(context, STATELESS)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, script.encode()):
            return None
        listed: bytes = library.nft_ctx_get_output_buffer(context)
        return listed.decode(errors="replace")
    finally:
        library.nft_ctx_free(context)


@cache
def loaded() -> ctypes.PyDLL | None:
    """The library, None where there is none. Its calls keep the interpreter's lock: it is not made for several threads."""
    try:
        library = ctypes.PyDLL(LIBRARY)
    except OSError:
        return None
    library.nft_ctx_new.restype, library.nft_ctx_new.argtypes = ctypes.c_void_p, [ctypes.c_uint32]
    library.nft_ctx_free.restype, library.nft_ctx_free.argtypes = None, [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.restype, library.nft_ctx_output_set_flags.argtypes = None, [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for function in (library.nft_ctx_buffer_output, library.nft_ctx_buffer_error):
        function.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_output_buffer.restype, library.nft_ctx_get_output_buffer.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return library
