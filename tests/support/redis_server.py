"""Start a real Redis server on a free port of this machine, with a password."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = "REQUIRE_REDIS"
"""Environment variable that makes a missing server a failure: where `make redis` has been run."""

START_S = 20


@dataclass
class RedisServer:
    """A server that can be stopped and started again.

    Attributes:
        password: of the user "default".
        port: TCP port on 127.0.0.1.
    """

    program: str
    folder: Path
    password: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the address with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        (self.folder / "redis.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'save ""\nappendonly yes\ndir "{self.folder}"\n',
            encoding="utf-8",
        )
        process = subprocess.Popen(
            [self.program, str(self.folder / "redis.conf")], stdout=subprocess.PIPE
        )
        self.process = process
        assert process.stdout is not None
        for line in process.stdout:  # its log; ends with the process
            if b"Ready to accept connections" in line:
                return
        raise AssertionError(f"redis-server ended with {process.wait(START_S)}")

    def stop(self) -> None:
        """End it; nothing if it does not run."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(START_S)
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a server; skips the test where none is installed, unless `REQUIRE_REDIS` is set."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get(REQUIRED):
            pytest.fail("there is no redis-server; `make redis` installs one")
        pytest.skip("NOT TESTED AGAINST REDIS: there is no redis-server; `make redis` installs one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RedisServer(program, folder, secrets.token_hex(8), port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
