"""All stores keep the same promises; SQLite's and Redis' also between connections, as between processes."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.serving.records import LAYOUT
from ssm4rec.serving.redis_store import RedisStore
from ssm4rec.serving.sqlite_store import SQLiteStore
from ssm4rec.serving.store import Change, DamagedUserError, MemoryStore, StateStore, Stored, StoreError, UserStoreError
from tests.redis_server import free_port, redis_server


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(params=["memory", "sqlite", "redis"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> list[StateStore]:
    """Two connections to the same records, or the one store in memory."""
    if request.param == "memory":
        return [MemoryStore()]
    if request.param == "sqlite":
        return [SQLiteStore(tmp_path / "users.sqlite") for _ in range(2)]
    address = request.getfixturevalue("redis_address")
    return [RedisStore(address, prefix=request.node.name) for _ in range(2)]


@pytest.fixture
def store(stores: list[StateStore]) -> StateStore:
    return stores[0]


def test_a_record_is_written_where_the_one_before_is_still_there(store: StateStore) -> None:
    first, second, other = Stored(1, b"one"), Stored(2, b"two"), Stored(2, b"other")
    assert store.write({"u": Change(0, first), "v": Change(3, other)}) == {"v"}
    assert store.write({"u": Change(0, other)}) == {"u"}
    assert store.write({"u": Change(1, second)}) == set()
    assert store.write({"u": Change(1, other)}) == {"u"}
    assert store.read(["w", "u", "v"]) == {"u": second}
    assert store.write({"u": Change(2, other)}) == set()  # another state of the same events
    store.forget(["u", "nobody"])
    assert store.read(["u"]) == {}
    assert store.write({"u": Change(2, second)}) == {"u"}, "what was forgotten does not come back"


def test_many_users_at_once(store: StateStore) -> None:
    users = {f"user {number} \U0001f600": Change(0, Stored(1, bytes([number % 256]))) for number in range(1200)}
    assert store.write(users) == set()
    assert store.read([*users]) == {user: change.after for user, change in users.items()}


def add_in_threads(stores: list[StateStore], threads: int, times: int) -> None:
    def add(store: StateStore) -> None:
        for _ in range(times):
            while True:
                before = store.read(["u"]).get("u", Stored(0, b""))
                if not store.write({"u": Change(before.sequence, Stored(before.sequence + 1, before.record + b"x"))}):
                    break

    running = [threading.Thread(target=add, args=(stores[number % len(stores)],)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_writers_at_the_same_time_lose_nothing(stores: list[StateStore]) -> None:
    add_in_threads(stores, threads=4, times=25)
    assert stores[0].read(["u"]) == {"u": Stored(100, b"x" * 100)}


def test_stores_on_one_new_file_at_the_same_time(tmp_path: Path) -> None:
    for attempt in range(10):
        with ThreadPoolExecutor(4) as threads:
            opened = [*threads.map(SQLiteStore, [tmp_path / f"{attempt}.sqlite"] * 4)]
        for one in opened:
            one.close()


def test_memory_is_bounded_and_the_least_recently_used_leave() -> None:
    store = MemoryStore(most_bytes=100_000)
    for number in range(1000):
        store.write({f"u{number}": Change(0, Stored(1, bytes(1000)))})
        assert store.read(["u0"]), "used all the time"
        assert store.bytes <= 100_000
    assert 50 < len(store) < 100
    assert not store.read(["u500"])
    assert store.read(["u999"])
    store.forget([f"u{number}" for number in range(1000)])
    assert (store.bytes, len(store)) == (0, 0)
    store.write({"u": Change(0, Stored(1, bytes(200_000)))})  # larger than all there is room for
    assert (store.bytes, len(store)) == (0, 0)


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE films (title)")
    database.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (foreign, "not a state store of this version; name another file"),
        (lambda path: path.write_bytes(b"title,year\n" * 500), "file is not a database"),
        (lambda path: path.mkdir(), "unable to open database file"),
    ],
)
def test_files_of_something_else(make: Callable[[Path], None], why: str, tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    make(path)
    with pytest.raises(StoreError, match=f"users.sqlite: .*{why}"):
        SQLiteStore(path)


def test_a_damaged_page_is_the_trouble_of_its_own_users(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    store = SQLiteStore(path)
    users = [f"u{number:03}" for number in range(200)]
    store.write({user: Change(0, Stored(1, user.encode() * 100)) for user in users})
    store.close()  # and its pages are in the file
    content = bytearray(path.read_bytes())
    leaves = [start for start in range(0, len(content), 4096) if content[start] == 0x0D]  # of a table: fileformat2, 1.6
    lost = leaves[len(leaves) // 2]
    content[lost : lost + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    store = SQLiteStore(path)
    found: dict[str, Stored] = {}
    refused = []
    for user in users:
        try:
            found |= store.read([user])
        except UserStoreError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 20
    assert all(said.startswith(f"{path}: the state store is damaged (") for said in refused)
    assert found == {user: Stored(1, user.encode() * 100) for user in found}
    assert len(found) == len(users) - len(refused)


def test_a_full_disk_counts_nothing(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "users.sqlite")
    store.write({"u": Change(0, Stored(1, b"one"))})
    store._database.execute("PRAGMA max_page_count=10")
    with pytest.raises(StoreError, match=r"full.*its folder must exist, be writable and have room"):
        store.write({"u": Change(1, Stored(2, b"two")), "v": Change(0, Stored(1, bytes(100_000)))})
    assert store.read(["u", "v"]) == {"u": Stored(1, b"one")}
    assert store.write({"u": Change(1, Stored(2, b"two"))}) == set()


def test_redis_of_something_else(redis_address: str) -> None:
    with pytest.raises(InputError, match=r"^localhost:6379: not an address of Redis .*; write redis://host:6379/0$"):
        RedisStore("localhost:6379")
    for wrong in ("/notadb", "/0?foo=bar"):
        with pytest.raises(InputError, match="not an address of Redis"):
            RedisStore(redis_address.removesuffix("/0") + wrong)
    nobody = f"redis://me:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:\d+/0: .* cannot be used .*refused"):
        RedisStore(nobody)
    store = RedisStore(redis_address, prefix="later")
    store._client.set("later:layout", LAYOUT + 1)
    with pytest.raises(StoreError, match="not a state store of this version; take another database or prefix"):
        RedisStore(redis_address, prefix="later")


def test_redis_with_a_password(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "opensesame") as address:
        for password in (None, "letmein"):
            with pytest.raises(StoreError, match=r"cannot be used \(.*(uthentication|password)") as refused:
                RedisStore(address, password)
            assert "letmein" not in str(refused.value)
        store = RedisStore(address, "opensesame")
        assert store.write({"u": Change(0, Stored(1, b"one"))}) == set()


def test_what_somebody_else_wrote_in_redis_is_damaged(redis_address: str) -> None:
    store = RedisStore(redis_address, prefix="damaged")
    store._client.hset("damaged:user:u", mapping={"sequence": "x", "record": "x"})
    with pytest.raises(DamagedUserError, match=r"^user 'u': a damaged record .*; forget the user \(DELETE\)"):
        store.read(["u"])
    store._client.set("damaged:user:v", "a text")
    with pytest.raises(DamagedUserError, match=r"^user 'v': a damaged record \(its key in Redis is of another type\)"):
        store.read(["w", "v"])
    store.forget(["u", "v"])
    assert store.read(["u", "v"]) == {}


def test_a_full_redis_counts_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction") as address:
        store = RedisStore(address)
        store.write({"u": Change(0, Stored(1, b"one"))})
        sizes = [2**20] * 8 + [2**16] * 16  # the request itself takes room, too: at last it is a small one
        with pytest.raises(StoreError, match="maxmemory"):
            for place, size in enumerate(sizes):
                change = Change(place + 1, Stored(place + 2, b"two"))
                store.write({"u": change, str(place): Change(0, Stored(1, bytes(size)))})
        stored = store.read(["u"])["u"].sequence
        assert 1 < stored < len(sizes)
        others = store.read([*map(str, range(len(sizes)))])
        assert [*others] == [*map(str, range(stored - 1))], "with each of the user's changes the other user's"
        store.forget([*others])
        assert store.write({"u": Change(stored, Stored(stored + 1, b"two"))}) == set()


def test_redis_gone_and_back_has_what_it_said_it_has(tmp_path: Path) -> None:
    """With every write on the disk before the answer; the store finds the server again by itself."""
    port, flags = free_port(), ("--appendonly", "yes", "--appendfsync", "always")
    with redis_server(tmp_path, *flags, port=port) as address:
        store = RedisStore(address)
        store.write({"u": Change(0, Stored(1, b"one"))})
    with pytest.raises(StoreError, match="cannot be used"):
        store.write({"u": Change(1, Stored(2, b"two"))})
    with redis_server(tmp_path, *flags, port=port):
        assert store.read(["u"]) == {"u": Stored(1, b"one")}
        assert store.write({"u": Change(1, Stored(2, b"two"))}) == set()
