"""How the process asks the system for memory."""

import ctypes

_M_ARENA_MAX = -8  # from glibc's malloc.h


def share_one_heap() -> bool:
    """Let all threads take memory from one heap, and tell whether that could be asked for: of glibc it can.

    glibc gives threads heaps of their own, and each keeps the most it ever held: 90 MiB more for a plan of 1,000,000
    rows, whose portions are compared in changing threads.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    return bool(mallopt(_M_ARENA_MAX, 1))
