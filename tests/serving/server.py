"""A real server in a process of its own, for tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

WORDS = ["music", "rivers", "bread", "code", "stars", "horses", "lamps", "trees", "doors", "boats", "wine", "ink"]


def passages(n=36):
    """Small texts that a search can tell apart."""
    ends = ["It was written by a king of the north.", "Nobody wrote it down."]
    return [
        {
            "id": f"d/{number}",
            "text": f"Passage number {number} is about {WORDS[number % len(WORDS)]}. {ends[number % 2]}",
            "lang": "en" if number % 2 else "de",
            "number": number,
        }
        for number in range(n)
    ]


class Server:
    """``xtrkit serve`` with some arguments; its log is in ``log``."""

    def __init__(self, directory, *arguments, command="serve", read_key=None, write_key=None, wait=True):
        directory.mkdir(parents=True, exist_ok=True)
        self.log_file = directory / "log"
        command = [sys.executable, "-m", "xtrkit", command, *map(str, arguments), "--port", "0"]
        for name, key in (("read", read_key), ("write", write_key)):
            if key is not None:
                file = directory / f"{name}.key"
                file.write_text(key + "\n")
                file.chmod(0o600)
                command += [f"--{name}-key-file", str(file)]
        self.read_key, self.write_key = read_key, write_key
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+?:(\d+)/", self.line)
        if found is None:
            self.process.wait(30)
            raise AssertionError(f"no address in {self.line!r}; log: {self.log_file.read_text()}")
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=200):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert self.process.poll() is None, self.log_file.read_text()
            time.sleep(0.1)
        raise AssertionError(f"not ready in {seconds} s; log: {self.log_file.read_text()}")

    def client(self, key=None):
        headers = {"X-API-Key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    @property
    def log(self):
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def rss(self):
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number=signal.SIGTERM, seconds=60):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
