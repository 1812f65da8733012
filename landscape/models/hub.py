"""The hub of Hugging Face where it cannot be reached."""

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator


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
    before, reason = constants.HF_HUB_OFFLINE, None
    if not before and not urllib.request.getproxies():  # through a proxy nothing can be told
        try:
            port = address.port or (80 if address.scheme == "http" else 443)
            socket.create_connection((address.hostname or "", port), timeout=5).close()
        except OSError:
            reason = f"{address.hostname} cannot be reached"
    constants.HF_HUB_OFFLINE = before or reason is not None
    try:
        yield reason
    finally:
        constants.HF_HUB_OFFLINE = before
