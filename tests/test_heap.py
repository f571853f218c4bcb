"""One heap for all threads, where the C library lets us choose."""

import platform

from bulk_patch.heap import share_one_heap


def test_glibc_takes_the_wish_and_others_do_not_mind() -> None:
    assert share_one_heap() is (platform.libc_ver()[0] == "glibc")
