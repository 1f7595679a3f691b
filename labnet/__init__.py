"""labnet: AWS container networking on one Linux machine, with no AWS account.

From Python: `from labnet import Lab`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labnet.api import Lab

__all__ = ["Lab", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`Lab`, when somebody first asks for it: the command does not, and starts without it."""
    if name == "Lab":
        from labnet.api import Lab

        return Lab
    raise AttributeError(f"module 'labnet' has no attribute {name!r}")
