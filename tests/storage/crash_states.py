"""Every state in which a power cut may leave a directory, as far as POSIX promises: from one recorded run.

A run's system calls are replayed into a model of a file system in which nothing is on disk before it was flushed: the
content of a file by fsync of the file, its name by fsync of the directory. Between flushes the disk may have taken any
of the changes: of the names, each or none, in any combination (a rename is one change); of the content, any of the
writes, whole, in part, or as zeros of the right length.
"""

import re
from dataclasses import dataclass, field

import numpy as np

TRACED = "openat,close,write,pwrite64,fsync,fdatasync,ftruncate,link,unlink,unlinkat,mkdir,rmdir,rename,sendto"
OPTIONS = ["-xx", "-s", "100000000", "-e", f"trace={TRACED}"]


@dataclass(eq=False)
class File:
    durable: bytes = b""
    pending: list = field(default_factory=list)
    current: bytearray = field(default_factory=bytearray)

    def write(self, offset, data):
        self.pending.append((offset, data))
        _put(self.current, offset, data)

    def truncate(self, size):
        self.pending.append((size, None))
        _put(self.current, size, None)

    def flush(self):
        self.durable, self.pending = bytes(self.current), []

    def state(self, fate, random):
        """What the disk may hold: "none" of the pending writes, "all", "torn", "zeros" or "some"."""
        if fate == "all" or not self.pending:
            return bytes(self.current)
        if fate == "none":
            return self.durable
        if fate == "zeros":
            return self.durable[: len(self.current)].ljust(len(self.current), b"\0")
        content = bytearray(self.durable)
        chosen = self.pending if fate == "torn" else [write for write in self.pending if random.random() < 0.5]
        for offset, data in chosen[:-1] if fate == "torn" else chosen:
            _put(content, offset, data)
        if fate == "torn" and chosen[-1][1] is not None:
            offset, data = chosen[-1]
            _put(content, offset, data[: len(data) // 2])
        return bytes(content)


@dataclass(eq=False)
class Folder:
    durable: dict = field(default_factory=dict)
    current: dict = field(default_factory=dict)


def _put(content, offset, data):
    if data is None:
        content[offset:] = bytes(max(0, offset - len(content)))
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """The file system below a root. A change of names is a list of (folder, name, what is there then or None)."""

    def __init__(self, root, *, ignore_files=False, ignore_folders=False):
        self._root_path, self.root = str(root), Folder()
        self._ignore_files, self._ignore_folders = ignore_files, ignore_folders
        self.changes, self._descriptors = [], {}

    def _place(self, path, folder=None):
        """The folder and the name that a path below the root, or below a folder, leads to."""
        parts = (path[len(self._root_path) :] if folder is None else path).strip("/").split("/")
        folder = folder or self.root
        for part in parts[:-1]:
            folder = folder.current[part]
        return folder, parts[-1]

    def _find(self, path, base=None):
        folder, name = self._place(path, base)
        return folder.current.get(name) if name else folder

    def _change(self, *parts):
        for folder, name, target in parts:
            if target is None:
                folder.current.pop(name, None)
            else:
                folder.current[name] = target
        self.changes.append(list(parts))

    def _flush_folder(self, folder):
        """A folder's flush takes the changes that touch it, whole."""
        for change in [change for change in self.changes if any(part[0] is folder for part in change)]:
            for touched, name, target in change:
                if target is None:
                    touched.durable.pop(name, None)
                else:
                    touched.durable[name] = target
            self.changes.remove(change)

    def call(self, name, arguments, returned):
        """Take one system call; True if it changed what a power cut may leave."""
        paths = [_unescape(text).decode(errors="replace") for text in re.findall(r'"((?:\\x..)*)"', arguments)]
        base = self._descriptors.get(int(number[0])) if (number := re.match(r"\d+", arguments)) else None
        if name == "openat":
            return self._opened(paths[0], base, arguments, returned)
        if name in ("mkdir", "rmdir", "link", "unlink", "unlinkat", "rename"):
            return (base or paths[0].startswith(self._root_path)) and self._renamed(name, paths, base)
        target = self._descriptors.get(int(number[0]))
        if name == "close":
            self._descriptors.pop(int(number[0]), None)
        return target is not None and name != "close" and self._changed(target, name, arguments, returned)

    def _changed(self, target, name, arguments, returned):
        """Write to a file, or flush a file or folder."""
        if name in ("fsync", "fdatasync"):
            if isinstance(target, Folder):
                if not self._ignore_folders:
                    self._flush_folder(target)
            elif not self._ignore_files:
                target.flush()
        elif name == "ftruncate":
            target.truncate(int(arguments.split(",")[1]))
        else:
            data = _unescape(re.search(r'"((?:\\x..)*)"', arguments)[1])[:returned]
            offset = int(arguments.rsplit(",", 1)[1]) if name == "pwrite64" else target.written
            target.write(offset, data)
            target.written = offset + len(data)
        return True

    def _opened(self, path, base, arguments, descriptor):
        if not path.startswith(self._root_path) and base is None:
            self._descriptors.pop(descriptor, None)
            return False
        found, changed = self._find(path, base), False
        if found is None:
            found, changed = File(), True
            folder, name = self._place(path, base)
            self._change((folder, name, found))
        if isinstance(found, File):
            found.written = len(found.current) if "O_APPEND" in arguments else 0
            if "O_TRUNC" in arguments and found.current:
                found.truncate(0)
                changed = True
        self._descriptors[descriptor] = found
        return changed

    def _renamed(self, name, paths, base):
        folder, old = self._place(paths[0], base)
        if name == "mkdir":
            self._change((folder, old, Folder()))
        elif name == "link":
            self._change((*self._place(paths[1]), self._find(paths[0])))
        elif name == "rename":
            moved = self._find(paths[0])
            self._change((folder, old, None), (*self._place(paths[1]), moved))
        else:
            self._change((folder, old, None))
        return True

    def states(self, random, extra):
        """States that a power cut may leave now: {path: content of a file, or None for a folder}."""
        n = len(self.changes)
        everything, nothing = set(range(n)), set()
        singles = [{i} for i in range(n)] + [everything - {i} for i in range(n)]
        some = [set(np.flatnonzero(random.random(n) < 0.5).tolist()) for _ in range(extra)]
        for chosen in [everything, nothing, *singles, *some]:
            fates = ("all", "none", "zeros", "torn", "some") if chosen is everything else ("all", "some")
            for fate in fates:
                yield self._state(chosen, fate, random)

    def _state(self, chosen, fate, random):
        entries = {}
        for i, change in enumerate(self.changes):
            if i in chosen:
                for folder, name, target in change:
                    entries.setdefault(id(folder), {})[name] = target
        found, contents = {}, {}

        def walk(folder, path):
            names = {**folder.durable, **entries.get(id(folder), {})}
            for name, target in names.items():
                if isinstance(target, Folder):
                    found[f"{path}{name}"] = None
                    walk(target, f"{path}{name}/")
                elif target is not None:
                    if id(target) not in contents:
                        contents[id(target)] = target.state(fate, random)
                    found[f"{path}{name}"] = contents[id(target)]

        walk(self.root, "")
        return found


def _unescape(text):
    return bytes.fromhex(text.replace("\\x", ""))


def replayed(log, root, **ignored):
    """Replay strace's log: yields what was acknowledged, and the disk, before and after each call that counts."""
    disk, acknowledged = Disk(root, **ignored), 0
    yield acknowledged, disk
    for line in log:
        match = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if not match:
            continue
        name, arguments, returned = match[1], match[2], int(match[3])
        if name == "sendto":
            report = _unescape(re.search(r'"((?:\\x..)*)"', arguments)[1]).decode()
            acknowledged = int(report.removeprefix("ack "))
        elif disk.call(name, arguments, returned):
            yield acknowledged, disk


def materialise(state, directory):
    """Make a state in an empty directory."""
    for path, content in state.items():
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)
