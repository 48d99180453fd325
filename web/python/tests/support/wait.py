"""Waits for conditions, with a bound that a busy machine does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LIMIT = 120.0


def eventually(what: str, look: Callable[[], T]) -> T:
    """Waits until ``look`` returns something that is true, and returns it. What it raises is raised at once."""
    end = time.monotonic() + _LIMIT
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(0.025)
