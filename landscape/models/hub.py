"""The hub of Hugging Face where it cannot be reached."""

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

from landscape.isolation.switches import Shared, assigned


@contextlib.contextmanager
def reachable_hub() -> Iterator[str | None]:
    """Gives why the hub cannot be reached, or ``None``. Without a connection only its cache is read.

    Its client would try again for half a minute, with a warning each time.
    """
    try:
        from huggingface_hub import constants
    except ImportError:  # then timm fetches from elsewhere
        yield None
        return
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    reason = None
    # Through a proxy a connection tells nothing.
    if not constants.HF_HUB_OFFLINE and not urllib.request.getproxies():
        try:
            port = address.port or (80 if address.scheme == "http" else 443)
            socket.create_connection((address.hostname or "", port), timeout=5).close()
        except OSError:
            reason = f"{address.hostname} cannot be reached"
    with contextlib.nullcontext() if reason is None else _CACHE_ONLY:
        yield reason


def _cache_only() -> contextlib.AbstractContextManager[None]:
    from huggingface_hub import constants

    return assigned((constants, "HF_HUB_OFFLINE", True))


# The setting belongs to the process, so threads that find no connection share the change.
_CACHE_ONLY = Shared(_cache_only)
