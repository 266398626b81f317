"""The tests run side by side, so none takes more threads than one; set before NumPy and torch are imported."""

import os

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
