"""Virtual environments for the peers, outside the repository: each group has its own, and each peer is optional."""

import subprocess
import sys
import venv
from pathlib import Path

LEMUR = "lemur @ git+https://github.com/ejaasaari/lemur@434860b9ef32355a2bc51f272abc1485ea1ef0d3"
GROUPS = {
    "libtorch": [
        "numpy", "torch==2.11.0", "xtr-warp-rs==2.1.0.2110", "fast-plaid==1.7.0.2110",
        "setuptools", "wheel", "pybind11", "tqdm", LEMUR,
    ],
    "vectors": ["numpy", "scann==1.4.2", "faiss-cpu==1.15.1"],
    "tachiom": ["numpy", "tachiom==0.4.0"],
}  # fmt: skip
GROUP_OF = {
    "xtr-warp-rs": "libtorch",
    "fast-plaid": "libtorch",
    "lemur": "libtorch",
    "lemur-untrained": "libtorch",
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
    install(home, GROUPS[group], newer_glibc=glibc if group == "tachiom" else None)
    python = str(home / "bin" / "python")
    if glibc and group == "tachiom":
        libraries = f"{glibc}:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"
        return [f"{glibc}/ld-linux-x86-64.so.2", "--argv0", python, "--library-path", libraries, python]
    return [python]


def install(home, packages, newer_glibc):
    """Install what was not tried yet, one by one, so that one that can't be had doesn't take the others with it."""
    record = home / "installed"
    tried = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    if not tried:
        venv.create(home, with_pip=True)
    for package in packages:
        if package not in tried:
            print(f"installing {package} …", flush=True)
            if subprocess.run(pip(home, package, newer_glibc), check=False).returncode:
                print(f"{package} can't be installed here: left out.")
            tried.append(package)
            record.write_text("\n".join(tried) + "\n", encoding="utf-8")


def pip(home, package, newer_glibc):
    command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    if package == LEMUR:  # has no wheel; it is built beside the torch that is here, and brings none
        return [*command, "--no-build-isolation", "--no-deps", package]
    command.append("--only-binary=:all:")
    if newer_glibc and package != "numpy":
        (site,) = Path(home).glob("lib/python*/site-packages")
        return [*command, "--no-deps", "--platform", NEWER_GLIBC, "--target", str(site), package]
    return [*command, package]
