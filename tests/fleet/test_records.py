"""Stores of records: one contract for all, and what each has to survive."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.fleet import CallRequest, _records
from getstream.plugins.gemini.fleet._calls import CallRecord
from getstream.plugins.gemini.fleet._ports import Records
from getstream.plugins.gemini.fleet._records import (
    TTL_S,
    FileRecords,
    MemoryRecords,
    RecordsError,
    RedisRecords,
    open_records,
)
from redis_server import RedisServer, running_redis

CIDS = ["default:a", "default:A", "livestream:" + "x" * 300, "default:a/../b", "default:ü*?[x]\n"]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "file", "redis"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    store: Records
    if request.param == "memory":
        store = MemoryRecords()
    elif request.param == "file":
        store = FileRecords(tmp_path / "records")
    else:
        store = RedisRecords(request.getfixturevalue("redis").url, prefix=f"{tmp_path}:")
    yield store
    await store.close()


# -- all of them -----------------------------------------------------------------------------------


async def test_a_record_is_found_again(records: Records) -> None:
    assert await records.load_all() == {}
    wanted = {cid: random.Random(cid).randbytes(10_000) for cid in CIDS}
    for cid, record in wanted.items():
        await records.put(cid, b"before")
        await records.put(cid, record)
    assert await records.load_all() == wanted
    await records.delete(CIDS[0])
    await records.delete(CIDS[0])  # not known any more
    del wanted[CIDS[0]]
    assert await records.load_all() == wanted


async def test_it_is_a_record_that_can_be_read(records: Records) -> None:
    record = CallRecord(CallRequest("default:a", "s", "bot", {"a": [1]}), 7, "w1", None)
    await records.put("default:a", record.to_json())
    loaded = await records.load_all()
    assert CallRecord.from_json(loaded["default:a"]) == record


async def test_the_last_of_many_puts_counts(records: Records) -> None:
    puts = [records.put("default:a", b"%d" % number) for number in range(50)]
    if isinstance(records, RedisRecords):  # over many connections there is no order
        for put in puts:
            await put
    else:
        await asyncio.gather(*puts)
    assert await records.load_all() == {"default:a": b"49"}


async def test_many_records(records: Records) -> None:
    wanted = {f"default:{number}": b"x" * number for number in range(350)}
    await asyncio.gather(*(records.put(cid, record) for cid, record in wanted.items()))
    assert await records.load_all() == wanted


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileRecords]:
    store = FileRecords(tmp_path / "records")
    yield store
    await store.close()


async def test_files_outlive_the_store(tmp_path: Path, files: FileRecords) -> None:
    await files.put("default:a", b"one")
    again = FileRecords(tmp_path / "records")
    assert await again.load_all() == {"default:a": b"one"}
    await again.close()


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
async def test_files_are_for_their_owner_alone(tmp_path: Path, files: FileRecords) -> None:
    umask = os.umask(0)
    try:
        await files.put("default:a", b"one")
    finally:
        os.umask(umask)
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o700
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "records").iterdir()]
    assert modes == [0o600]
    (tmp_path / "records").chmod(0o750)
    with pytest.raises(ConfigError, match="chmod 700"):
        FileRecords(tmp_path / "records")


async def test_a_damaged_file_is_told_and_left_out(
    tmp_path: Path, files: FileRecords, caplog: pytest.LogCaptureFixture
) -> None:
    for cid in ("default:a", "default:b"):
        await files.put(cid, b"a conversation")
    good = next((tmp_path / "records").iterdir()).read_bytes()
    damaged = {
        "empty": b"",
        "cut": good[:-3],
        "cut-head": good[:20],
        "changed": good[:-1] + b"X",
        "zeros": bytes(len(good)),
        "binary": b"\xff\xfe\n",
        "newer": good.replace(b"record 1", b"record 2"),
        "list": b"[]\n",
        "deep": b"[" * 100_000,
    }
    for name, content in damaged.items():
        (tmp_path / "records" / f"{name}.record").write_bytes(content)
    (tmp_path / "records" / "README").write_text("nothing of ours", encoding="utf-8")
    assert set(await files.load_all()) == {"default:a", "default:b"}
    for name in damaged:
        assert f"{name}.record is left out" in caplog.text
    assert "README" not in caplog.text
    assert "a conversation" not in caplog.text


async def test_old_files_go(tmp_path: Path, files: FileRecords) -> None:
    await files.put("default:young", b"")
    await files.put("default:old", b"")
    folder = tmp_path / "records"
    (folder / "left-by-a-kill.tmp").write_bytes(b"half")
    (folder / "being-written.tmp").write_bytes(b"half")
    before = {path.name for path in folder.iterdir()}
    old = [path for path in folder.iterdir() if b"default:old" in path.read_bytes()]
    for path, age_s in ((old[0], TTL_S + 60), (folder / "left-by-a-kill.tmp", 120)):
        os.utime(path, (time.time() - age_s,) * 2)
    assert set(await files.load_all()) == {"default:young"}
    gone = before - {path.name for path in folder.iterdir()}
    assert gone == {old[0].name, "left-by-a-kill.tmp"}


WRITER = """
import asyncio, sys
from getstream.plugins.gemini.fleet._records import FileRecords

async def main():
    records = FileRecords(sys.argv[1])
    number = 0
    while True:
        number += 1
        # The size changes too: a mixture of two records would be seen.
        await records.put("default:a", b"%d:" % number * (1 + number % 4000))
        if number == 5:
            print("writes", flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
async def test_kill_9_in_mid_write_leaves_a_whole_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "records")], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout as output:
            assert output.readline() == b"writes\n"
            await asyncio.sleep(chance.uniform(0, 0.05))  # anywhere in a write
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        store = FileRecords(tmp_path / "records")
        record = (await store.load_all())["default:a"]
        await store.close()
        number = int(record.partition(b":")[0])
        assert record == b"%d:" % number * (1 + number % 4000)
    assert caplog.text == ""


async def test_a_slow_disk_does_not_block_the_loop(
    files: FileRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, begun = threading.Event(), threading.Event()

    def slow_fsync(_: int) -> None:
        begun.set()
        assert released.wait(20)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    put = asyncio.create_task(files.put("default:a", b"one"))
    while not begun.is_set():
        await asyncio.sleep(0)
    assert not put.done()  # and this line runs
    released.set()
    await put
    assert await files.load_all() == {"default:a": b"one"}


async def test_a_disk_that_hangs_or_is_full_is_a_typed_error(
    tmp_path: Path, files: FileRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(_records, "FILE_S", 0.05)
    monkeypatch.setattr(os, "fsync", lambda _: released.wait(20))
    with pytest.raises(RecordsError, match="no answer"):
        await files.put("default:a", b"one")
    released.set()
    monkeypatch.setattr(_records, "FILE_S", 20)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordsError, match="No space left"):
        await files.put("default:b", b"two")
    assert set(await files.load_all()) == {"default:a"}
    assert [path.suffix for path in (tmp_path / "records").iterdir()] == [".record"]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="is a file"):
        FileRecords(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be made"):
        FileRecords(tmp_path / "file" / "below")


# -- Redis -----------------------------------------------------------------------------------------


def client_of(redis: RedisServer) -> Any:
    from redis import Redis

    return Redis.from_url(redis.url)


async def test_a_record_expires_with_its_handle(redis: RedisServer) -> None:
    records = RedisRecords(redis.url, prefix="expiry:")
    await records.put("default:a", b"one")
    await records.close()
    with client_of(redis) as client:
        assert TTL_S - 60 < client.ttl("expiry:default:a") <= TTL_S


@pytest.mark.parametrize("prefix", ["one*", "one[x]", "one?", "one\\"])
async def test_fleets_do_not_see_each_other(redis: RedisServer, prefix: str) -> None:
    mine, other = RedisRecords(redis.url, prefix), RedisRecords(redis.url, "onex")
    await mine.put("default:a", b"mine")
    await other.put("default:a", b"other")
    assert await mine.load_all() == {"default:a": b"mine"}
    await mine.delete("default:a")
    for records in (mine, other):
        await records.close()


async def test_redis_that_restarts_is_used_again(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        records = RedisRecords(server.url)
        await records.put("default:a", b"one")
        server.stop()
        with pytest.raises(RecordsError, match=f"127.0.0.1:{server.port}"):
            await records.put("default:a", b"two")
        server.start()
        assert await records.load_all() == {"default:a": b"one"}
        await records.close()


async def test_redis_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_records, "REDIS_S", 0.05)
    monkeypatch.setattr(_records, "REDIS_LOAD_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts; nobody answers
        records = RedisRecords(f"redis://:password@127.0.0.1:{silent.getsockname()[1]}")
        for attempt in (records.put("default:a", b""), records.delete("default:a")):
            with pytest.raises(RecordsError, match="no answer"):
                await attempt
        with pytest.raises(RecordsError, match="no answer"):
            await records.load_all()
        await records.close()


async def test_no_password_is_shown(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = redis.url.replace(redis.password, "wrong-password")
    records = RedisRecords(wrong)
    with pytest.raises(RecordsError) as caught:
        await records.put("default:a", b"")
    await records.close()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    shown = f"{caught.value} {records!r} {caplog.text}"
    assert "wrong-password" not in shown
    assert redis.password not in shown
    assert f"127.0.0.1:{redis.port}" in shown


@pytest.mark.parametrize(
    "url",
    ["http://:password@host", "redis://:password@host:port", "redis://:password@host:99999999",
     "redis://:password@host?socket_timeout=password", "://password"],
)  # fmt: skip
def test_a_wrong_address_is_told_without_itself(url: str) -> None:
    with pytest.raises(ConfigError, match="redis://") as caught:
        RedisRecords(url)
    assert ":password@host" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_tls_is_asked_for_by_the_address() -> None:
    pool = RedisRecords("rediss://host:6380")._client.connection_pool
    assert pool.connection_class.__name__ == "SSLConnection"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("redis.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"getstream-plugins-gemini\[redis\]"):
        RedisRecords("redis://localhost")


# -- by name ---------------------------------------------------------------------------------------


async def test_a_store_is_opened_by_its_name(tmp_path: Path) -> None:
    for where, kind in (
        ("memory", MemoryRecords),
        (str(tmp_path / "records"), FileRecords),
        ("redis://localhost", RedisRecords),
    ):
        store = open_records(where)
        assert type(store) is kind
        await store.close()
