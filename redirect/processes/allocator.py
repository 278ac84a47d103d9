"""How the C library of a worker keeps the memory that is freed.

The rule: what a worker frees it needs again at once. glibc gives blocks of 128 KiB and more back to the kernel, and
what is free at the end of its heap. The event loop reads up to 250 KB of a body at a time, and each page of each read
then caused a page fault, which was a third of the CPU time of a body that is passed on.
"""

import ctypes

# Of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Larger blocks are the kernel's, and more than this at the end of the heap.
KEPT_BLOCK_BYTES = 1024 * 1024
KEPT_HEAP_BYTES = 16 * 1024 * 1024


def keep_freed_memory() -> None:
    """Does nothing where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_HEAP_BYTES)
