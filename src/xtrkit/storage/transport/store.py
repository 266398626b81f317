"""A place elsewhere where files are kept that are written once: a bucket, or a directory, named by a URL.

fsspec speaks to it, with a package for each kind of store. A store is transport: nothing is locked, mapped or renamed
there. It has ``files/SHA256``, each file under the hash of its content, so that what is there already is never written
anew and nothing is ever overwritten by something else; and the manifests beside that folder, which are written if
nobody wrote one of that name before.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xtrkit.errors import IndexLockedError, InputError, MissingExtraError, StorageError, XtrkitError, missing_extra
from xtrkit.progress import Advance
from xtrkit.storage.files import discard, flush, storage_errors
from xtrkit.storage.generations import commit_file
from xtrkit.storage.manifest import LARGEST_MANIFEST

FILES = "files"
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs",
}  # fmt: skip
"""Which package of Python's a kind of store needs; the others' are named by fsspec."""

BLOCK, ABREAST = 1 << 23, 4
"""Bytes that are asked for at once, and how many such pieces are under way where the store can."""

_HALF_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?!//|:)")


class Remote:
    """A place that a URL names.

    Attributes:
        url: its URL, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        """Find out how to speak to it; nothing is asked yet.

        Raises:
            InputError: it is no URL, or one of a kind that nobody knows.
            MissingExtraError: the package that speaks to it isn't installed.
        """
        self.url = url.rstrip("/")
        self._fs, self._root = _opened(url)

    def where(self, name: str) -> str:
        """How messages name a file there."""
        return f"{self.url}/{name}"

    def listed(self) -> list[str]:
        """The names there, but for the files'; none where there is nothing.

        Raises:
            InputError: the URL is that of a file.
            StorageError: the store refused, or can't be reached.
        """
        with self._telling("", "listing it"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                found = [{"name": self._root, "type": "file"}]
        names = [str(one["name"]).rstrip("/") for one in found]
        if len(found) == 1 and found[0]["type"] == "file" and names[0].strip("/") == self._root.strip("/"):
            raise InputError(f"{self.url} is a file: name the folder that has a cluster or an index, or shall have it.")
        return [name.rpartition("/")[2] for name in names]

    def sizes(self) -> dict[str, int]:
        """{sha256: bytes} of the files there.

        Raises:
            StorageError: the store refused, or can't be reached.
        """
        with self._telling(FILES, "listing it"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(FILES), detail=True)
            except FileNotFoundError:
                return {}
        return {str(one["name"]).rpartition("/")[2]: int(one["size"] or 0) for one in found}

    def read(self, name: str) -> bytes | None:
        """A manifest; None where it isn't there.

        Raises:
            StorageError: the store refused, or can't be reached.
        """
        size = self.size(name)
        if not size:
            return None if size is None else b""
        with self._telling(name, "reading"):
            return bytes(self._fs.cat_file(self._path(name), start=0, end=min(size, LARGEST_MANIFEST)))

    def size(self, name: str) -> int | None:
        """How many bytes a file has; None where it isn't there.

        Raises:
            StorageError: the store refused, or can't be reached.
        """
        with self._telling(name, "looking at it"):
            self._fs.invalidate_cache()
            try:
                return int(self._fs.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def blocks(self, name: str, begin: int, size: int) -> Iterator[bytes]:
        """The bytes of a file, from one place on.

        Raises:
            StorageError: the store refused, or can't be reached (any more).
        """
        path = self._path(name)
        for first in range(begin, size, BLOCK * ABREAST):
            starts = list(range(first, min(first + BLOCK * ABREAST, size), BLOCK))
            ends = [min(start + BLOCK, size) for start in starts]
            with self._telling(name, "reading"):
                found = self._fs.cat_ranges([path] * len(starts), starts, ends, on_error="raise")
            yield from found

    def put(self, path: Path, name: str, advance: Advance) -> None:
        """Copy a file there, whole or not at all as far as anybody can see.

        Stores of objects do so by themselves. In a directory the file gets its name when it is complete. Elsewhere
        (SFTP and the like) a copy that was cut off is shorter, and is copied anew by the next push.

        Raises:
            StorageError: the store refused, or can't be reached (any more).
        """
        size = path.stat().st_size
        with self._telling(name, "writing"):
            if self._local is not None:
                _copy(path, self._local / name)
                advance(size)
                return
            told = _Told(advance)
            self._fs.put_file(str(path), self._path(name), callback=told.callback())
            advance(size - told.done)

    def put_if_absent(self, name: str, generation: int, content: bytes) -> bytes:
        """Write a manifest, unless there is one of its name; return what is there then.

        S3, Google's and Azure's stores decide that themselves, and a directory does by a link. With others it is looked
        up before, so that of two who push at the same moment both may believe to have won.

        Raises:
            StorageError: the store refused, or can't be reached (any more).
        """
        with self._telling(name, "writing"):
            try:
                if self._local is not None:
                    commit_file(self._local, name, generation, content)
                else:
                    self._fs.pipe_file(self._path(name), content, mode="create")
            except (OSError, IndexLockedError):  # stores name a conflict in many ways
                found = self.read(name)
                if found is None:
                    raise
                return found
        return content

    @property
    def _local(self) -> Path | None:
        """The directory that it is, if it is one of this machine's file system."""
        from fsspec.implementations.local import LocalFileSystem

        return Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _telling(self, name: str, action: str) -> Iterator[None]:
        """Make one sentence of what a package raises, which may be anything."""
        try:
            yield
        except XtrkitError:
            raise
        except Exception as error:
            raise StorageError(
                f"{self.where(name).rstrip('/')}: {action} failed ({_reason(error)}). {_hint(error)}"
            ) from error


def _opened(url: str) -> tuple[Any, str]:
    """What speaks to a store, and its own name of a place there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise missing_extra("Pushing and pulling", "remote") from error
    kinds = "a directory, or a URL such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or abfs://CONTAINER/FOLDER"
    if not url or _HALF_A_URL.match(url):
        raise InputError(f"{url!r} names no place: expected {kinds}.")
    kind = url.partition("://")[0]
    try:
        fs, root = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = PACKAGES.get(kind)
        what = f"the package {package}: run pip install {package}" if package else f"another package ({error})"
        raise MissingExtraError(f'{url} needs, beside the extra "remote", {what}') from error
    except Exception as error:
        raise InputError(f"{url!r} can't be used ({_reason(error)}): expected {kinds}.") from error
    if kind in PACKAGES and not root.strip("/"):
        raise InputError(f"{url!r} names no bucket: expected {kinds}.")
    return fs, root


def _copy(source: Path, target: Path) -> None:
    """Copy a file into a directory, where it gets its name when it is complete and on disk."""
    partial = target.with_name(f"tmp-{secrets.token_hex(4)}")
    with storage_errors(target, "writing"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, partial)
            flush(partial)
            os.replace(partial, target)
        finally:
            discard(partial)
    flush(target.parent)


class _Told:
    """Tells a progress bar what a package says of a transfer."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self.done = advance, 0

    def callback(self) -> Any:
        """As packages want it."""
        from fsspec.callbacks import Callback

        hook: Callable[..., None] = self._tell
        return Callback(hooks={"told": hook})

    def _tell(self, _size: int | None, value: int, **_: Any) -> None:
        self._advance(value - self.done)
        self.done = value


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _hint(error: BaseException) -> str:
    if isinstance(error, PermissionError) or "redential" in _reason(error):
        return "Give credentials that may do this, where the store's package looks for them, and run it again."
    if isinstance(error, FileNotFoundError):
        return "Make the bucket first, or look whether the URL is right."
    return "Look whether the URL is right and the store answers, and run it again: what has arrived is kept."


def address(sha256: str) -> str:
    """Where a store has a file."""
    return f"{FILES}/{sha256}"
