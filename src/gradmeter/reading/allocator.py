"""Memory that a tile frees stays with the process, for the next tile."""

from __future__ import annotations

from functools import cache

import torch

# glibc asks the system for blocks above a threshold and gives them back when they are freed; the threshold, and twice
# as much for what it keeps at the end of its heap, grows to the largest such block freed so far, up to 32 MiB.
_LARGEST = 2**25 - 2**16


@cache
def keep_freed_memory() -> None:
    """Free a block of the largest size that raises glibc's thresholds, once.

    Without it every tile's activations come as fresh pages from the system, which takes as long as the network does.
    Other allocators are not impressed.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
