"""Keep the memory that a tile frees in the process, for the next tile."""

from __future__ import annotations

from functools import cache

import torch

# glibc maps blocks above a threshold separately and returns them to the system when they are freed. The threshold (and
# the trim threshold, twice as large) grows to the size of the largest mapped block freed so far, up to 32 MiB.
_BLOCK_BYTES = 2**25 - 2**16


@cache
def keep_freed_memory() -> None:
    """Raise glibc's thresholds to their maximum, once, by freeing a block of that size.

    Otherwise every tile's activations are allocated in fresh pages, which takes as long as the network itself. This has
    no effect on other allocators.
    """
    torch.empty(_BLOCK_BYTES, dtype=torch.uint8)
