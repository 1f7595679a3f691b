"""What `nft` says and does, by its own library in this process: starting the program costs ten times as much as what it then does.

Where the library cannot be loaded, the program does it; the answers are the same but for how an error's place is named.
"""

from __future__ import annotations

import ctypes
from functools import cache

from labnet.kernel import command
from labnet.kernel.netns import enter
from labnet.ports import ProgramResult

LIBRARY = "libnftables.so.1"
STATELESS = 1 << 1
"""Without counts, as ``nft -s``."""


def run(fd: int, netns: str, script: str) -> ProgramResult:
    """Give commands to nftables in a namespace, in one transaction: as ``nft -s -f -`` with that text. Errors: KernelError."""
    library = loaded()
    if library is None:
        return command.run(fd, netns, ["nft", "-s", "-f", "-"], script)
    with enter(fd):
        context = library.nft_ctx_new(0)  # its socket is one of the namespace that the thread is in
    if not context:
        return ProgramResult(1, "", "no memory for libnftables")
    try:
        library.nft_ctx_output_set_flags(context, STATELESS)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        failed = library.nft_run_cmd_from_buffer(context, script.encode())
        out, said = library.nft_ctx_get_output_buffer(context), library.nft_ctx_get_error_buffer(context)
        return ProgramResult(1 if failed else 0, out.decode(errors="replace"), said.decode(errors="replace"))
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
    for function in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer):
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return library
