"""Virtual environments for the peers, outside the repository: each group has its own, and each peer is optional."""

import subprocess
import sys
import venv
from pathlib import Path

GROUPS = {
    "libtorch": ["numpy", "torch==2.11.0", "xtr-warp-rs==2.1.0.2110", "fast-plaid==1.7.0.2110"],
    "vectors": ["numpy", "scann==1.4.2", "faiss-cpu==1.15.1"],
    "tachiom": ["numpy", "tachiom==0.4.0"],
}
GROUP_OF = {
    "xtr-warp-rs": "libtorch",
    "fast-plaid": "libtorch",
    "exact-torch": "libtorch",
    "faiss": "vectors",
    "scann": "vectors",
    "tachiom": "tachiom",
}
NEWER_GLIBC = "manylinux_2_39_x86_64"


def python_of(engine, directory, glibc):
    """The command that runs an engine's interpreter: this one for xtrkit, else its group's, made where it is missing.

    With ``glibc``, a folder of another glibc (``ld-linux-x86-64.so.2`` and its libraries), tachiom is run by it.
    """
    group = GROUP_OF.get(engine.split(":")[0])
    if group is None:
        return [sys.executable]
    home = directory.resolve() / group
    if not (home / "installed").exists():
        install(home, GROUPS[group], newer_glibc=glibc if group == "tachiom" else None)
    python = str(home / "bin" / "python")
    if glibc and group == "tachiom":
        libraries = f"{glibc}:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"
        return [f"{glibc}/ld-linux-x86-64.so.2", "--argv0", python, "--library-path", libraries, python]
    return [python]


def install(home, packages, newer_glibc):
    """Install packages one by one, so that one that can't be had doesn't take the others with it."""
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
    for package in packages:
        command = [*pip, package]
        if newer_glibc and package != "numpy":
            (site,) = Path(home).glob("lib/python*/site-packages")
            command = [*pip, "--no-deps", "--platform", NEWER_GLIBC, "--target", str(site), package]
        print(f"installing {package} …", flush=True)
        if subprocess.run(command, check=False).returncode:
            print(f"{package} can't be installed here: left out.")
    (home / "installed").touch()
