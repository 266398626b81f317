"""A child of a test's process, which has other tests' libraries loaded but none of their threads."""

import gc
import os
import signal

HANGS_AFTER = 120
"""Seconds after which a child ends by SIGALRM, and its test fails."""


def fork():
    """As os.fork(), but the child collects no garbage.

    What other tests left behind may wait, when it is deleted, for threads that only the parent has: a session of ONNX
    Runtime for those that it computes on.
    """
    gc.disable()
    process = os.fork()
    if process:
        gc.enable()
    else:
        signal.alarm(HANGS_AFTER)
    return process
