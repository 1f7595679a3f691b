from __future__ import annotations

from kernel_fixtures import kernel, name

__all__ = ["kernel", "name"]
