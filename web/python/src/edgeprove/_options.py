"""The settings of a client, checked once."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ._errors import EdgeproveError, bad_answer, invalid_option
from ._seal import SealOption, checked_option

#: Longest time for a request that neither uploads nor waits for a proof, in seconds.
SHORT_REQUEST = 30.0
#: Longest time to connect, in seconds.
CONNECT = 10.0
#: The first wait after a request without an answer, in seconds; it doubles with each attempt.
_FIRST_DELAY = 1.0


@dataclass(frozen=True)
class Retry:
    """How often and how long a request is repeated that may succeed later."""

    #: The largest number of attempts at a request, the first included. 1 never repeats one.
    attempts: int = 4
    #: The longest wait before another attempt, in seconds. If the server asks for more, the call fails at once.
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise invalid_option("retry.attempts must be a whole number from 1")
        if not 0 <= self.max_delay < math.inf:
            raise invalid_option("retry.max_delay must be a number of seconds")

    def delay_after(self, error: EdgeproveError, attempt: int) -> float | None:
        """How long to wait before another attempt, in seconds; ``None`` where the server asks for too much."""
        asked = error.retry_after or 0.0
        if asked > self.max_delay:
            return None
        backoff: float = min(_FIRST_DELAY * 2 ** min(attempt - 1, 30), self.max_delay)
        # Callers that failed together come back apart, and none before the time that the server asked for.
        if asked > 0:
            return asked + random.random() * min(backoff, asked)
        return backoff * (0.5 + random.random() / 2)


@dataclass(frozen=True)
class Settings:
    """The settings of a client. Its text has no key and no voucher."""

    #: Ends without a slash.
    base: str
    #: The API key or the voucher, which requests send alike.
    token: str | None
    seal: SealOption
    timeout: float
    retry: Retry

    def __repr__(self) -> str:
        return f"Settings({self.base!r})"


def settings_of(
    url: str, api_key: str | None, voucher: str | None, seal: SealOption, timeout: float, retry: Retry | None
) -> Settings:
    """Checks the settings. Raises ``invalid_option``."""
    if api_key is not None and voucher is not None:
        raise invalid_option("give api_key or voucher, not both")
    for name, token in (("api_key", api_key), ("voucher", voucher)):
        # A header with another one would fail with an error that has the key.
        if token is not None and not (isinstance(token, str) and re.fullmatch(r"[!-~]{1,4096}", token)):
            raise invalid_option(f"{name} must be printable ASCII characters without blanks")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise invalid_option("timeout must be a number of seconds above 0")
    token = voucher if api_key is None else api_key
    retry = Retry() if retry is None else retry
    return Settings(_base(url), token, checked_option(seal), float(timeout), retry)


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (ValueError, AttributeError, TypeError):
        has_host = False
    if not has_host or parts.scheme not in ("http", "https"):
        raise invalid_option("url must be a URL that begins with http: or https:, such as https://prover.example")
    if parts.username is not None or parts.password is not None:
        raise invalid_option("url must have no user name: send a key as api_key")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def url_of(base: str, path: str) -> str:
    """The URL of a path at the service. Paths of answers may have a query."""
    # A path of an answer must not lead to another host, which would get the key.
    if not re.match(r"/(?![/\\])[!-~]*\Z", path) or "\\" in path or "#" in path:
        raise bad_answer("a path of the server must begin with one slash")
    if any(part in (".", "..") for part in path.split("?", 1)[0].split("/")):
        raise bad_answer("a path of the server must not have `..`")
    return base + path


def segment(text: str) -> str:
    """The path segment of an id or a name."""
    # A segment of dots alone would be a relative path.
    if not isinstance(text, str) or not text.strip("."):
        raise invalid_option("an id or a name is empty or only dots")
    return quote(text, safe="")
