"""Store records of calls: in memory, in files, in Redis.

A record is what a call needs to be placed again. It holds a conversation: the files can be read by
their owner alone, and what is in Redis is as safe as that Redis is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from .._terminal import one_line
from ..errors import ConfigError, GeminiError
from ._ports import Records

__all__ = ["FileRecords", "MemoryRecords", "RecordsError", "RedisRecords", "open_records"]

TTL_S = 7200.0
"""Lifetime of a record. The service forgets a session two hours after its last connection."""

FILE_S = 5.0
"""Longest wait for a file operation; a local disk takes milliseconds, a network's may hang."""

REDIS_SOCKET_S = 2.0
"""Longest wait for one answer of Redis. In one data centre it takes a millisecond."""

REDIS_S = 5.0
"""Longest wait for one operation on Redis, with a repetition on a new connection."""

REDIS_LOAD_S = 30.0
"""Longest wait for all records of Redis: 1,000 calls are 10 MB in 20 answers."""

REDIS_CONNECTIONS = 4
"""Connections of one store. A record is written once a turn: one would do for hundreds of calls."""

REDIS_BATCH = 100
"""Records fetched at once: 1 MB."""

_FORMAT = "gemini-fleet-record 1"
_SUFFIX = ".record"
_TEMPORARY = ".tmp"

_STALE_TEMPORARY_S = 60.0
"""Age at which a temporary file is nobody's any more: a write ends within `FILE_S`."""

_PRIVATE_MODE = 0o700

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class RecordsError(GeminiError):
    """The store of records cannot be reached, or refuses; the next attempt may succeed."""


class MemoryRecords:
    """Keeps records in this process: they outlive its workers, and not itself."""

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}

    async def put(self, cid: str, record: bytes) -> None:
        """Store the record of a call in place of the one before."""
        self._records[cid] = record

    async def delete(self, cid: str) -> None:
        """Forget a call; nothing if it is not known."""
        self._records.pop(cid, None)

    async def load_all(self) -> dict[str, bytes]:
        """Return all records by call."""
        return dict(self._records)

    async def close(self) -> None:
        """Do nothing; other stores have something to close."""


class FileRecords:
    """Keeps one file for each call in a folder, for a fleet of one machine.

    A file is written beside its place and then moved there, so that it is whole whenever the
    process is killed; its checksum tells whether the machine was. Files and folder are for their
    owner alone. Records older than two hours are dropped. All work is done in a thread, in order.

    Args:
        path: the folder; it is made if there is none. No two fleets can share one.

    Raises:
        ConfigError: it is a file, others may read it, or it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = Path(path)
        self._prepare()
        # One thread: what is put first is written first.
        self._thread = ThreadPoolExecutor(1, "gemini-fleet-records")

    async def put(self, cid: str, record: bytes) -> None:
        """Store the record of a call in place of the one before.

        Raises:
            RecordsError: it could not be written.
        """
        await self._in_thread(lambda: self._write(cid, record))

    async def delete(self, cid: str) -> None:
        """Forget a call; nothing if it is not known.

        Raises:
            RecordsError: its file could not be removed.
        """
        await self._in_thread(lambda: self._place(cid).unlink(missing_ok=True))

    async def load_all(self) -> dict[str, bytes]:
        """Return all records by call; a file that is damaged is logged, and left out.

        Raises:
            RecordsError: the folder could not be read.
        """
        return await self._in_thread(self._read_all)

    async def close(self) -> None:
        """End the thread, once it has done what it was given."""
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._thread, work), FILE_S)
        except asyncio.TimeoutError:  # first: from CPython 3.11 on it is an OSError
            problem = f"no answer within {FILE_S:.0f} s"
        except OSError as error:
            problem = error.strerror or type(error).__name__
        raise RecordsError(f"The records in {self._folder} cannot be used: {problem}") from None

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(_PRIVATE_MODE, parents=True, exist_ok=True)
            mode = self._folder.stat().st_mode
        except FileExistsError:
            raise ConfigError(f"{self._folder} is a file; records need a folder") from None
        except OSError as error:
            raise ConfigError(
                f"The folder {self._folder} for records cannot be made: {error.strerror or error}"
            ) from None
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(
                f"Others may read the folder {self._folder}, and records hold conversations: "
                f"chmod 700 {self._folder}"
            )

    def _place(self, cid: str) -> Path:
        # A digest: ids may differ in case alone, be longer than a file name, or hold a slash.
        return self._folder / (hashlib.sha256(cid.encode()).hexdigest()[:32] + _SUFFIX)

    def _write(self, cid: str, record: bytes) -> None:
        head = {"format": _FORMAT, "cid": cid, "sha256": hashlib.sha256(record).hexdigest()}
        handle, name = tempfile.mkstemp(_TEMPORARY, dir=self._folder)  # mode 0600
        try:
            with open(handle, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + record)
                file.flush()
                os.fsync(file.fileno())  # or a power cut leaves a file of the right size and zeros
            os.replace(name, self._place(cid))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _read_all(self) -> dict[str, bytes]:
        records = {}
        now = time.time()
        for path in sorted(self._folder.iterdir()):
            if path.suffix not in (_SUFFIX, _TEMPORARY):
                continue
            age_s = now - path.stat().st_mtime
            if age_s > (TTL_S if path.suffix == _SUFFIX else _STALE_TEMPORARY_S):
                path.unlink(missing_ok=True)
            elif path.suffix == _SUFFIX:
                try:
                    cid, record = _read_file(path)
                except ValueError as error:
                    _logger.warning("Record %s is left out: %s", path, error)
                else:
                    records[cid] = record
        return records


class RedisRecords:
    """Keeps records in a Redis server, for fleets of many machines.

    Each is deleted by the server two hours after it was written. Needs the extra `redis`.

    Args:
        url: `redis://[[user]:password@]host[:port][/db]`, `rediss://` for TLS, `unix://` for a
            socket. It is never logged.
        prefix: what keys begin with; fleets that share a server need different ones.

    Raises:
        ConfigError: the address cannot be used, or the package `redis` is not installed.
    """

    def __init__(self, url: str, prefix: str = "gemini-fleet:") -> None:
        self._prefix = prefix
        self._client, self._errors = _redis_client(url)
        options = self._client.connection_pool.connection_kwargs
        where = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._where = one_line(str(options.get("path") or where))

    def __repr__(self) -> str:
        return f"RedisRecords({self._where}, prefix={self._prefix!r})"

    async def put(self, cid: str, record: bytes) -> None:
        """Store the record of a call in place of the one before.

        Raises:
            RecordsError: Redis is out of reach, or refuses.
        """
        await self._bounded(self._client.set(self._prefix + cid, record, ex=int(TTL_S)), REDIS_S)

    async def delete(self, cid: str) -> None:
        """Forget a call; nothing if it is not known.

        Raises:
            RecordsError: Redis is out of reach, or refuses.
        """
        await self._bounded(self._client.delete(self._prefix + cid), REDIS_S)

    async def load_all(self) -> dict[str, bytes]:
        """Return all records by call.

        Raises:
            RecordsError: Redis is out of reach, or refuses.
        """
        return await self._bounded(self._load_all(), REDIS_LOAD_S)

    async def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(RecordsError):  # a connection that is broken is closed
            await self._bounded(self._client.aclose(), REDIS_S)

    async def _load_all(self) -> dict[str, bytes]:
        pattern = _escape_glob(self._prefix) + "*"
        keys = [key async for key in self._client.scan_iter(match=pattern, count=REDIS_BATCH)]
        records = {}
        for begin in range(0, len(keys), REDIS_BATCH):
            batch = keys[begin : begin + REDIS_BATCH]
            for key, record in zip(batch, await self._client.mget(batch), strict=True):
                if record is not None:  # gone since it was listed
                    records[key.decode().removeprefix(self._prefix)] = record
        return records

    async def _bounded(self, answer: Awaitable[_T], timeout_s: float) -> _T:
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except asyncio.TimeoutError:
            problem = f"no answer within {timeout_s:.0f} s"
        except self._errors as error:
            problem = one_line(f"{type(error).__name__}: {error}")
        # The chain is cut: frames of the client hold the password.
        raise RecordsError(f"Redis at {self._where} cannot be used: {problem}") from None


def open_records(where: str) -> Records:
    """Return the store that a command line names.

    Args:
        where: "memory", the address of a Redis server, or a folder.

    Raises:
        ConfigError: it cannot be used.
    """
    if where == "memory":
        return MemoryRecords()
    if "://" in where:
        return RedisRecords(where)
    return FileRecords(where)


def _read_file(path: Path) -> tuple[str, bytes]:
    """Return what is in the file of a record.

    Raises:
        ValueError: it is none, or damaged; the text says which.
    """
    head_text, newline, record = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(head_text)
        known, cid, digest = head["format"], head["cid"], head["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("it is damaged, or no record") from None
    if known != _FORMAT or not isinstance(cid, str):
        raise ValueError("another release has written it")
    if not newline or hashlib.sha256(record).hexdigest() != digest:
        raise ValueError("its checksum is wrong")
    return cid, record


def _escape_glob(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\*?[]^" else char for char in text)


def _redis_client(url: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a client of Redis, and the errors that it raises."""
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import ExponentialBackoff
        from redis.exceptions import RedisError
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigError(
            "Records in Redis need a package more: pip install 'getstream-plugins-gemini[redis]'"
        ) from None
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=REDIS_CONNECTIONS,
            timeout=REDIS_S,  # for one of them to be free
            socket_timeout=REDIS_SOCKET_S,
            socket_connect_timeout=REDIS_SOCKET_S,
            # Once more, on a new connection: the server may have closed one that was idle.
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
            health_check_interval=30,
        )
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(  # without the address, which holds a password
            "The address of Redis cannot be used: it is redis://[:password@]host[:port][/db], "
            "rediss:// for TLS, or unix:///path/to/socket"
        ) from None
    return Redis.from_pool(pool), (RedisError, OSError, EOFError)
