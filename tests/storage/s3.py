"""A server that speaks S3, in a process of its own, for as long as a test module needs it."""

import contextlib
import os
import subprocess
import sys
from unittest import mock

import fsspec

SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def s3_server(bucket):
    """Start it, with a bucket; the environment names it and credentials until the block ends."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with mock.patch.dict(os.environ, settings):
            s3 = fsspec.filesystem("s3")
            s3.mkdir(bucket)
            yield s3
    finally:
        server.communicate()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
