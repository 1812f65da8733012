"""One byte of a good file changed at a time, at seeded places; ``BYTE_EDITS=1000 pytest -k byte_edits`` for more."""

import os
import random
from collections.abc import Iterator

COUNT = int(os.environ.get("BYTE_EDITS", "60"))


def byte_edits(content: bytes, *, share: int = 1) -> Iterator[bytes]:
    """The content with one byte replaced by another, :data:`COUNT` times, or a fraction of it."""
    dice = random.Random(0)
    for _ in range(COUNT // share):
        place = dice.randrange(len(content))
        other = (content[place] + dice.randrange(1, 256)) % 256
        yield content[:place] + bytes([other]) + content[place + 1 :]
