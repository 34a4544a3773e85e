"""Where sources are: folders, S3, HTTP, the Hub, SQL. The services are real and on loopback."""

import contextlib
import datetime
import decimal
import functools
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import services
from domainlm.artifacts import sha256_file
from domainlm.corpus import patience, remote, sources, sql
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Source
from hub_server import Hub
from small import command, domainlm, write_corpus

PASSWORD = "p@ss/word: 100%"


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    port = services.free_port()
    with pytest.MonkeyPatch.context() as patch, services.s3(port):
        for name, value in services.s3_environment(port).items():
            patch.setenv(name, value)
        yield port


@pytest.fixture
def own_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port for an S3 that the test itself starts and stops; clients are made anew for it."""
    import s3fs

    port = services.free_port()
    for name, value in services.s3_environment(port).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield port
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database, its password by its name in the environment."""
    with pytest.MonkeyPatch.context() as patch, services.postgresql(PASSWORD) as port:
        patch.setenv("PG_PASSWORD", PASSWORD)
        yield f"postgresql+psycopg://reader:${{PG_PASSWORD}}@127.0.0.1:{port}/postgres"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with Hub() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.base)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.base)
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        yield server


@contextlib.contextmanager
def web(folder: Path) -> Iterator[str]:
    """The standard library's server of a folder: pages of links, no ranges."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def copyfile(self, source: object, target: object) -> None:
            with contextlib.suppress(ConnectionError):  # of a client that wanted a range
                super().copyfile(source, target)

    handler = functools.partial(Quiet, directory=os.fspath(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def write_files(top: Path) -> None:
    """A folder with what makes trouble: depth, spaces, percent signs, hidden files, other types."""
    for name in ("b.txt", "a/x y.txt", "a/100%.md", "a/deep/é.jsonl", "a/deep/t.csv.gz", "c.TXT"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"bytes of {name}".encode())
    for name in (".hidden.txt", "a/.git/x.txt", "picture.png"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_bytes(b"not read")
    (top / "large.txt").write_bytes(os.urandom(9_000_001))


NAMES = ["a/100%.md", "a/deep/t.csv.gz", "a/deep/é.jsonl", "a/x y.txt", "b.txt", "c.TXT"]
NAMES.append("large.txt")


def check(source: Source, top: Path, names: list[str] = NAMES) -> list[sources.Entry]:
    """The source lists the files of a folder, and their bytes are the same."""
    entries = sources.listing(source, [])
    assert [e.path for e in entries] == names
    for entry in entries:
        data = (top / entry.path).read_bytes()
        assert entry.bytes == len(data)
        with sources.opened(source, entry) as file:
            assert file.read() == data
        with sources.opened(source, entry) as file:
            assert file.seek(-3, 2) == len(data) - 3
            assert file.read() == data[-3:]
            file.seek(1)
            assert file.read(4) == data[1:5]
    return entries


# --- folders --------------------------------------------------------------------------------


def test_a_folder_and_its_url(tmp_path: Path) -> None:
    write_files(tmp_path)
    entries = check(Source(path=str(tmp_path)), tmp_path)
    assert [e.sha256 for e in entries] == [sha256_file(tmp_path / e.path) for e in entries]
    assert sources.listing(Source(path=f"file://{tmp_path}"), []) == entries


def test_names_that_are_not_utf8_are_read_and_fit_in_tables(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path / "folder") + b"-\xe9"
    os.mkdir(raw)
    Path(os.fsdecode(raw + b"/caf\xe9.txt")).write_bytes(b"some text")
    source = Source(path=str(tmp_path))
    (entry,) = sources.listing(source, [])
    assert entry.path == "folder-\\xe9/caf\\xe9.txt"
    with sources.opened(source, entry) as file:
        assert file.read() == b"some text"
    sources.write_listing(tmp_path / "listing", [entry])
    assert sources.read_listing(tmp_path / "listing") == [entry]


def test_links_are_read_once_and_never_in_circles(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a")
    (tmp_path / "text" / "link.txt").symlink_to("a.txt")
    (tmp_path / "text" / "gone.txt").symlink_to("nowhere")
    (tmp_path / "text" / "round").symlink_to(tmp_path / "text")
    os.mkfifo(tmp_path / "text" / "pipe.txt")
    found = sources.listing(Source(path=str(tmp_path / "text")), [])
    assert [e.path for e in found] == ["a.txt", "link.txt"]


def test_an_unchanged_file_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    source = Source(path=str(tmp_path))
    before = sources.listing(source, [])
    (tmp_path / "b.txt").write_text("changed")
    hashed = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(sources, "sha256_file", count)
    after = sources.listing(source, before)
    assert hashed == ["b.txt"]
    changed = [
        e.path for e, old in zip(after, before, strict=True) if e.identity() != old.identity()
    ]
    assert changed == ["b.txt"]


@pytest.mark.parametrize("name", ["a.txt", "A.PDF", "a.jsonl.zst", "a.tar.gz", "b.tgz", "x.eml"])
def test_known_types(name: str) -> None:
    assert sources.known(name)
    assert not sources.known(name + ".png")
    assert not sources.known("gz")


def test_pieces_of_a_large_file_add_up_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BATCH_BYTES", 10_000)
    rows = [json.dumps({"text": "word " * n}) for n in range(150)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "plain.txt").write_text("word " * 5000)
    source = Source(path=str(tmp_path))
    entries = sources.listing(source, [])
    pieces = [e for e in entries if e.path == "rows.jsonl"]
    assert len(pieces) > 3
    assert sum(e.bytes for e in pieces) == (tmp_path / "rows.jsonl").stat().st_size
    assert [e.stop for e in pieces[:-1]] == [e.start for e in pieces[1:]]
    assert len({tuple(e.identity()) for e in entries}) == len(entries)
    monkeypatch.setattr(sources, "opened", None)  # an unchanged file is not looked into again
    assert sources.listing(source, entries) == entries


sizes = st.lists(st.integers(0, 3000), min_size=1, max_size=60)


@settings(max_examples=40)
@given(sizes, st.integers(1, 8))
def test_a_listing_is_read_back_whole_or_by_batch(
    tmp_path_factory: pytest.TempPathFactory, found: list[int], most: int
) -> None:
    path = tmp_path_factory.mktemp("listing") / "sources"
    day = datetime.date(2020, 1, 1)
    entries = [
        sources.Entry(f"f{n:03}", size, n, "ab" * 32, date=day if n % 2 else None, version="v" * n)
        for n, size in enumerate(found)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BATCH_BYTES", 5000)
        patch.setattr(sources, "BATCH_FILES", most)
        sources.write_listing(path, entries)
        batches = list(sources.batches(entries))
        assert [e for b in batches for e in b] == entries == sources.read_listing(path)
        assert all(len(b) <= most for b in batches)
        assert all(len(b) == 1 or sum(e.bytes for e in b) <= 5000 for b in batches)
        assert [sources.read_listing(path, n) for n in range(len(batches))] == batches


# --- stores ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_s3_is_like_a_folder(s3_port: int, tmp_path: Path) -> None:
    write_files(tmp_path)
    services.upload(s3_port, "like-a-folder", tmp_path, "some/prefix/")
    entries = check(Source(path="s3://like-a-folder/some/prefix"), tmp_path)
    assert check(Source(path="s3://like-a-folder/some/prefix/"), tmp_path) == entries
    source = Source(path="s3://like-a-folder/some/prefix/a/x y.txt")
    check(source, tmp_path / "a", ["x y.txt"])
    check(Source(path="s3://like-a-folder/some/prefix/*/*.txt"), tmp_path, ["a/x y.txt"])
    picked = Source(path="s3://like-a-folder/some", include=["**/*.txt"], exclude=["**/large*"])
    assert [e.path for e in sources.listing(picked, [])] == ["prefix/a/x y.txt", "prefix/b.txt"]
    capped = sources.listing(Source(path="s3://like-a-folder", limit=2), [])
    assert len(capped) == 2


def test_an_object_is_known_by_its_version(s3_port: int, tmp_path: Path) -> None:
    import boto3

    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("other")
    services.upload(s3_port, "versions", tmp_path)
    source = Source(path="s3://versions")
    before = sources.listing(source, [])
    put = boto3.client("s3").put_object
    put(Bucket="versions", Key="b.txt", Body=b"other")  # the same bytes, written later
    assert sources.listing(source, before) == before
    put(Bucket="versions", Key="a.txt", Body=b"fresh")  # of the same size
    after = sources.listing(source, before)
    assert [a.sha256 != b.sha256 for a, b in zip(after, before, strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("s3://no-such-bucket/x", "there is no corpus at", USAGE),
        ("s3://faults/nothing/here", "there is no corpus at", USAGE),
        ("s3://faults/pictures", "the corpus is empty", 1),
        ("s9://bucket/x", "nothing is installed that opens s9", USAGE),
        ("adl://store/x", "nothing is installed that opens adl", USAGE),
    ],
)
def test_faults_of_an_address(
    s3_port: int, tmp_path: Path, path: str, message: str, code: int
) -> None:
    import botocore.exceptions

    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")
    with contextlib.suppress(botocore.exceptions.ClientError):
        services.upload(s3_port, "faults", tmp_path)
    with pytest.raises(DomainLMError, match=message) as caught:
        sources.listing(Source(path=path), [])
    assert caught.value.exit_code == code
    assert caught.value.fix


def test_a_wrong_key_is_named(
    tmp_path: Path, own_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that asks for keys that exist from the third request on."""
    (tmp_path / "a.txt").write_text("text")
    monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "2")
    with services.s3(own_port):
        services.upload(own_port, "locked", tmp_path)
        with pytest.raises(DomainLMError, match="no permission to read the source") as caught:
            sources.listing(Source(path="s3://locked"), [])
        assert "AWS_PROFILE" in caught.value.fix


def test_one_missing_object_is_not_a_missing_store(s3_port: int, tmp_path: Path) -> None:
    import boto3

    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "c.txt").write_bytes(os.urandom(remote.WHOLE + 1))
    services.upload(s3_port, "missing", tmp_path)
    source = Source(path="s3://missing")
    entries = sources.listing(source, [])
    client = boto3.client("s3")
    for key in ("b.txt", "c.txt"):
        client.delete_object(Bucket="missing", Key=key)
    for entry in entries[1:]:
        with pytest.raises(FileNotFoundError), sources.opened(source, entry):
            pass
    client.delete_object(Bucket="missing", Key="a.txt")
    client.delete_bucket(Bucket="missing")
    with (
        pytest.raises(DomainLMError, match="the source cannot be reached"),
        sources.opened(source, entries[0]),
    ):
        pass


@pytest.mark.slow
def test_a_store_that_is_gone_stops_clearly(
    tmp_path: Path, own_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 4.0)
    data = os.urandom(20_000_000)
    (tmp_path / "large.txt").write_bytes(data)
    source = Source(path="s3://going/")
    with contextlib.ExitStack() as stack:
        with services.s3(own_port):
            services.upload(own_port, "going", tmp_path)
            (entry,) = sources.listing(source, [])
            file = stack.enter_context(sources.opened(source, entry))
            assert file.read(1000) == data[:1000]
        for ask in (
            lambda: sources.listing(source, []),
            lambda: sources.opened(source, entry).__enter__(),
            file.read,
        ):
            with pytest.raises(DomainLMError, match="the source cannot be reached") as caught:
                ask()
            assert "the run goes on" in caught.value.fix


def test_a_page_of_links_and_a_file_of_the_web(tmp_path: Path) -> None:
    write_files(tmp_path)
    with web(tmp_path) as base:  # a server without ranges: large.txt comes by way of the disk
        source = Source(path=base)
        entries = check(source, tmp_path)
        assert not remote.in_parts(source, "large.txt", 9_000_001)
        check(Source(path=f"{base}/a/"), tmp_path / "a", [n[2:] for n in NAMES if n[:2] == "a/"])
        check(Source(path=f"{base}/a/x%20y.txt?download=1"), tmp_path / "a", ["x y.txt"])
        os.utime(tmp_path / "b.txt", (1, 1))
        after = sources.listing(source, entries)
        assert [e.path for e, o in zip(after, entries, strict=True) if e != o] == ["b.txt"]
        (tmp_path / "b.txt").unlink()
        gone = next(e for e in entries if e.path == "b.txt")
        with pytest.raises(FileNotFoundError), sources.opened(source, gone):
            pass
        for path in (f"{base}/none.txt", f"{base}/none/"):
            with pytest.raises(DomainLMError, match="there is no corpus at"):
                sources.listing(Source(path=path), [])


@pytest.mark.slow
def test_a_web_server_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 1.5)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"text")
    with web(tmp_path) as base:
        entries = sources.listing(Source(path=base), [])
    for path in (base, f"{base}/a.txt"):
        with pytest.raises(DomainLMError, match="the source cannot be reached"):
            sources.listing(Source(path=path), [])
        with (
            pytest.raises(DomainLMError, match="the source cannot be reached"),
            sources.opened(Source(path=path), entries[0]),
        ):
            pass


def test_ranges_of_the_web_are_used(hub: Hub, tmp_path: Path) -> None:
    data = os.urandom(12_000_000)
    hub.push("org/name", {"large.jsonl": data})
    path = f"{hub.base}/datasets/org/name/resolve/main/large.jsonl"
    source = Source(path=path)
    (entry,) = sources.listing(source, [])
    assert remote.in_parts(source, "large.jsonl", len(data))
    hub.log.clear()
    with sources.opened(source, entry) as file:
        file.seek(11_000_000)
        assert file.read(5) == data[11_000_000:11_000_005]
    assert [r for method, _, r in hub.log if method == "GET"] == ["bytes=11000000-11999999"]


@pytest.mark.slow
def test_a_lost_connection_is_taken_up_where_it_was(hub: Hub) -> None:
    data = os.urandom(12_000_000)
    hub.push("org/name", {"large.jsonl": data})
    source = Source(path=f"{hub.base}/datasets/org/name/resolve/main/large.jsonl")
    (entry,) = sources.listing(source, [])
    with sources.opened(source, entry) as file:
        assert file.read(1000) == data[:1000]
        asked = len(hub.log)
        hub.fault = lambda method, path, nth: 503 if nth < asked + 2 else None
        assert file.read() == data[1000:]
        assert len(hub.log) > asked + 2
        hub.push("org/name", {"other.jsonl": data})  # what is gone is all of the source
        file.seek(0)
        with pytest.raises(DomainLMError, match="the source cannot be reached"):
            file.read()


@settings(max_examples=20)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(-400, 400), st.integers(0, 300))))
def test_any_seeks_and_reads(s3_port: int, steps: list[tuple[int, int, int]]) -> None:
    """The file that outlasts lost connections is a file like any other."""
    import fsspec

    data = bytes(n * 7 % 251 for n in range(500))
    fsspec.filesystem("memory").pipe("/seeks/a.bin", data)
    source = Source(path="memory://seeks", include=["*"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "WHOLE", 100)
        with sources.opened(source, sources.listing(source, [])[0]) as file:
            model = io.BytesIO(data)
            for whence, offset, count in steps:
                base = (0, model.tell(), len(data))[whence]
                model.seek(max(0, base + offset))
                file.seek(max(0, base + offset))
                assert file.read(count) == model.read(count)
                assert file.tell() == model.tell()


def test_other_file_systems(tmp_path: Path) -> None:
    import fsspec

    write_files(tmp_path)
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in NAMES:
            archive.write(tmp_path / name, name)
            memory.pipe(f"/like/{name}", (tmp_path / name).read_bytes())
    check(Source(path="memory://like"), tmp_path)
    check(Source(path=f"zip::file://{tmp_path}/all.zip"), tmp_path)


# --- the Hub --------------------------------------------------------------------------------


def parquet(rows: dict[str, list[object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue()


def hub_source(**more: object) -> Source:
    return Source(kind="hub", path="org/name", **more)


def test_a_data_set_is_pinned_to_a_commit_and_streamed(hub: Hub) -> None:
    files = {f"data/train-{n}.parquet": parquet({"text": [f"row {n}"]}) for n in range(5)}
    other = {"README.md": b"# card", "LICENSE.txt": b"terms", "extra/copy.jsonl": b"{}"}
    commit = hub.push("org/name", files | other)
    source = hub_source()
    entries = sources.listing(source, [])
    assert [e.path for e in entries] == sorted(files)
    assert {e.version for e in entries} == {commit}
    hub.push("org/name", {"data/train-0.parquet": parquet({"text": ["another"]})})
    for entry in entries:  # as they were when they were listed
        with sources.opened(source, entry) as file:
            assert file.read() == files[entry.path]
    after = sources.listing(source, entries)
    assert len(after) == 1
    assert after[0].identity() != entries[0].identity()
    assert [e.path for e in sources.listing(hub_source(revision=commit), [])] == sorted(files)


def test_of_a_large_file_only_what_is_read_is_fetched(hub: Hub) -> None:
    text = [os.urandom(30_000).hex() for _ in range(20)]
    wide = [os.urandom(300_000).hex() for _ in range(20)]
    sink = io.BytesIO()
    pq.write_table(pa.table({"wide": wide, "text": text}), sink, compression="none")
    hub.push("org/name", {"a.parquet": sink.getvalue()})
    source = hub_source()
    (entry,) = sources.listing(source, [])
    with sources.opened(source, entry) as file:
        assert pq.read_table(file, columns=["text"]).column("text").to_pylist() == text
    ranges = [r for method, path, r in hub.log if "/resolve/" in path and method == "GET"]
    assert all(ranges)
    bounds = [[int(n) for n in r.removeprefix("bytes=").split("-")] for r in ranges]
    assert sum(stop - start for start, stop in bounds) < len(sink.getvalue()) * 0.9


def test_what_a_data_set_is_read_from(hub: Hub) -> None:
    table, line = parquet({"text": ["row"]}), b'{"text": "row"}\n'
    hub.push("org/name", {"a/x.jsonl.gz": b"", "a/y.jsonl": line, "b.csv": b"text\nrow\n"})
    assert [e.path for e in sources.listing(hub_source(), [])] == ["a/x.jsonl.gz", "a/y.jsonl"]
    assert [e.path for e in sources.listing(hub_source(include=["*.csv"]), [])] == ["b.csv"]
    hub.push("org/name", {"script.py": b"", "README.md": b""})
    with pytest.raises(DomainLMError, match="the corpus is empty"):
        sources.listing(hub_source(), [])
    converted = {"default/train/0000.parquet": table, "default/test/0000.parquet": table}
    commit = hub.push("org/name", converted, "refs/convert/parquet")
    found = sources.listing(hub_source(include=["*/train/*"]), [])
    assert [(e.path, e.version) for e in found] == [("default/train/0000.parquet", commit)]
    with sources.opened(hub_source(), found[0]) as file:
        assert file.read() == table


@pytest.mark.parametrize(
    ("path", "revision", "message"),
    [
        ("org/none", "main", "no permission to read the source"),  # the Hub does not say which
        ("org/gated", "main", "no permission to read the source"),
        ("org/name", "v9", r"there is no corpus at org/name \(revision v9\)"),
        ("no id", "main", "there is no corpus at no id"),
    ],
)
def test_faults_of_a_data_set(hub: Hub, path: str, revision: str, message: str) -> None:
    hub.push("org/name", {"a.jsonl": b"{}"})
    hub.push("org/gated", {"a.jsonl": b"{}"})
    hub.private.add("org/gated")
    with pytest.raises(DomainLMError, match=message) as caught:
        sources.listing(Source(kind="hub", path=path, revision=revision), [])
    assert "HF_TOKEN" in caught.value.fix


@pytest.mark.slow
def test_a_hub_with_trouble_is_asked_again_and_offline_it_is_not(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push("org/name", {"a.jsonl": b'{"text": "row"}\n'})
    hub.fault = lambda method, path, nth: 503 if nth == 0 else None  # each address, once
    (entry,) = sources.listing(hub_source(), [])
    with sources.opened(hub_source(), entry) as file:
        assert file.read() == b'{"text": "row"}\n'
    asked = len(hub.log)
    with pytest.raises(DomainLMError, match="--offline asks no server"):
        sources.listing(hub_source(), [], offline=True)
    assert len(hub.log) == asked
    monkeypatch.setattr(patience, "PATIENCE", 1.5)
    hub.fault = lambda method, path, nth: 503
    with pytest.raises(DomainLMError, match="the source cannot be reached"):
        sources.listing(hub_source(), [])


# --- SQL ------------------------------------------------------------------------------------


def query(root: Path, url: str, statement: str, text: str | None = None) -> pa.Table:
    sql.fetch(root, {"path": url, "query": statement, "text": text})
    source = Source(kind="sql", path=url, query=statement)
    tables = []
    for entry in sql.entries(root):
        with sources.opened(source, entry, root) as file:
            tables.append(pq.ParquetFile(file).read_row_groups(range(entry.start, entry.stop)))
    assert sum(e.bytes for e in sql.entries(root)) == (root / sql.TABLE).stat().st_size
    return pa.concat_tables(tables)


def database(path: Path, rows: list[tuple[object, ...]]) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table notes (id, text, who, day)")
        connection.executemany("insert into notes values (?, ?, ?, ?)", rows)
    return f"sqlite:///{path}"


def test_sqlite_in_pieces_that_keep_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH_BYTES", 5000)
    rows = [(n, f"text {n} " * 20, None, b"caf\xe9") for n in range(200)]
    url = database(tmp_path / "db", rows)
    statement = "select * from notes order by id"
    table = query(tmp_path / "a", url, statement)
    assert table.column("id").to_pylist() == [str(n) for n in range(200)]
    assert table.column("text").to_pylist() == [r[1] for r in rows]
    assert set(table.column("who").to_pylist()) == {None}
    assert set(table.column("day").to_pylist()) == {"café"}
    pieces = sql.entries(tmp_path / "a")
    assert len(pieces) > 5
    query(tmp_path / "b", url, statement)
    assert sha256_file(tmp_path / "a" / sql.TABLE) == sha256_file(tmp_path / "b" / sql.TABLE)
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("insert into notes values (1000, 'one more', null, null)")
    query(tmp_path / "a", url, statement)
    again = sql.entries(tmp_path / "a")
    assert [e.sha256 for e in again[:-1]] == [e.sha256 for e in pieces[: len(again) - 1]]
    assert again[-1].sha256 != pieces[-1].sha256


def test_text_of_sqlite_that_is_not_utf8(tmp_path: Path) -> None:
    url = database(tmp_path / "db", [(1, "x", "", "")])
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("update notes set text = cast(x'636166e9' as text)")
    table = query(tmp_path, url, "select text from notes order by 1")
    assert table.column("text").to_pylist() == ["café"]


def test_a_query_without_an_order_is_noticed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = database(tmp_path / "db", [(1, "x", "", "")])
    query(tmp_path, url, "select * from notes order  by id")
    assert "ORDER BY" not in capfd.readouterr().err
    query(tmp_path, url, "select * from notes")
    assert "no ORDER BY" in capfd.readouterr().err


@pytest.mark.slow
def test_types_of_postgresql(tmp_path: Path, postgres: str) -> None:
    key = uuid.uuid4()
    table = query(
        tmp_path,
        postgres,
        f"""select '100% of: it' as text, date '2020-02-03' as day,
            timestamp '2020-02-03 04:05:06' as at, 12.50::numeric as price, '{key}'::uuid as key,
            'café'::bytea as raw, 7::bigint as n, true as yes, null::text as none,
            '{{"b": 1, "a": [2]}}'::jsonb as more, array['x', 'y'] as list
            where 'a%b' like 'a%' order by 1""",
    )
    assert table.to_pylist() == [
        {
            "text": "100% of: it", "day": "2020-02-03", "at": "2020-02-03T04:05:06",
            "price": "12.50", "key": str(key), "raw": "café", "n": "7", "yes": "true",
            "none": None, "more": '{"a": [2], "b": 1}', "list": '["x", "y"]',
        }
    ]  # fmt: skip
    assert sources.as_date("2020-02-03T04:05:06") == datetime.date(2020, 2, 3)
    assert sql._text(decimal.Decimal("1E+3")) == "1000"


def test_a_query_can_change_nothing(tmp_path: Path, postgres: str) -> None:
    import sqlalchemy

    with sqlalchemy.create_engine(sql.address(postgres)).begin() as connection:
        connection.execute(sqlalchemy.text("create sequence if not exists counter"))
    with pytest.raises(DomainLMError, match="the query fails") as caught:
        query(tmp_path, postgres, "select nextval('counter') order by 1")
    assert "read-only" in caught.value.why
    assert not (tmp_path / sql.TABLE).exists()


@pytest.mark.parametrize(
    ("url", "statement", "message", "fix"),
    [
        ("sqlite:///{db}", "select nothing", "the query fails", "correct it"),
        (
            "sqlite:///{db}",
            "select who from notes",
            "the query has no column 'text'",
            "source.text",
        ),
        ("sqlite:///{db}", "select text, who as text from notes", "two columns", "AS"),
        ("sqlite:///{db}", "select * from notes where 0", "the query gives no rows", "conditions"),
        ("sqlite:///{db}x", "select 1", "there is no corpus at", "sqlite:///"),
        ("postgresql://u:secret@h/d", "select 1", "holds a password", "DB_PASSWORD"),
        ("postgresql://h/d?password=secret", "select 1", "holds a password", "DB_PASSWORD"),
        ("postgresql://u:${{UNSET_X}}@h/d", "select 1", "UNSET_X is not set", "UNSET_X"),
        ("mysql+pymysql://u@h/d", "select 1", "address cannot be used", "pip install"),
        ("nonsense", "select 1", "address cannot be used", "postgresql"),
        ("postgresql+psycopg://u@127.0.0.1:9/d", "select 1", "cannot be reached", "again"),
    ],
)
def test_faults_of_a_query(
    tmp_path: Path, url: str, statement: str, message: str, fix: str
) -> None:
    database(tmp_path / "db", [(1, "x", "", "")])
    with pytest.raises(DomainLMError, match=message) as caught:
        query(tmp_path, url.format(db=tmp_path / "db"), statement, "text")
    assert fix in caught.value.fix
    assert "secret" not in str(caught.value)
    assert not (tmp_path / sql.TABLE).exists()


def test_a_wrong_password_is_not_shown(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_PASSWORD", "hushhush")
    with pytest.raises(DomainLMError, match="cannot be reached") as caught:
        query(tmp_path, postgres, "select 1")
    assert "password" in caught.value.why
    assert "hushhush" not in str(caught.value)


MEASURE = """
import sys
from pathlib import Path
from domainlm.corpus import sql
from small import peak
before = peak()
sql.fetch(Path(sys.argv[1]), {"path": sys.argv[2], "query": sys.argv[3]})
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_of_a_long_query_is_bounded(tmp_path: Path, postgres: str) -> None:
    """320 MB of rows go through far less memory, and a kill in their midst leaves nothing."""
    statement = (
        "select n, repeat(md5(n::text), 1000) as text from generate_series(1, %d) n order by 1"
    )
    call = [sys.executable, "-c", MEASURE, str(tmp_path), postgres]
    endless = (statement % 1_000_000).replace(" order by 1", "")  # it need not be sorted first
    here = Path(__file__).parent
    began = subprocess.Popen([*call, endless], cwd=here)
    corpus = tmp_path / "corpus"
    for _ in range(3000):
        if any(f.stat().st_size for f in corpus.glob(".*.part")) or began.poll() is not None:
            break
        time.sleep(0.1)
    began.send_signal(signal.SIGKILL)
    assert began.wait() == -signal.SIGKILL
    assert [f.suffix for f in corpus.iterdir()] == [".part"]  # which the next run clears away
    done = subprocess.run(
        [*call, statement % 10_000], cwd=here, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 250_000_000
    assert pq.read_metadata(tmp_path / sql.TABLE).num_rows == 10_000


# --- all of it ------------------------------------------------------------------------------

RECIPE = """
[source]
{source}
[split]
cut = 2021-01-01
unseen = 0.3
[[train]]
name = "scratch"
model = "modern-tiny"
tokens = 60_000
[evaluate]
stock = []
[engine]
workers = 1
"""
IN_FILES = "date = '(\\d{4}-\\d{2}-\\d{2})'"
IN_COLUMNS = 'id = "id"\ngroup = "who"\ndate = "day"'


def run(folder: Path, name: str, source: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / f"{name}.toml").write_text(RECIPE.format(source=source))
    return domainlm("run", f"{name}.toml", "--until", "corpus", cwd=folder, code=code)


def documents_of(run: Path) -> list[dict[str, object]]:
    rows = []
    for path in sorted((run / "corpus").glob("documents-*.parquet")):
        rows += pq.read_table(path).to_pylist()
    for row in rows:
        row.pop("origin", None)
    return rows


@pytest.mark.slow
def test_the_same_corpus_from_anywhere_is_the_same_documents(
    tmp_path: Path,
    s3_port: int,
    postgres: str,
    hub: Hub,
) -> None:
    import sqlalchemy

    text = tmp_path / "text"
    write_corpus(text)
    rows = [
        {
            "id": path.relative_to(text).as_posix(),
            "text": path.read_text(),
            "who": path.parent.name,
            "day": path.stem,
        }
        for path in sorted(text.rglob("*.txt"))
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(text.rglob("*.txt"), reverse=True):
            archive.write(path, path.relative_to(text).as_posix())
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dated = [datetime.date.fromisoformat(day) for day in columns["day"]]
    pq.write_table(pa.table({**columns, "day": dated}), tmp_path / "all.parquet")
    services.upload(s3_port, "anywhere", text, "corpus/")
    hub.push("org/anywhere", {"data/train.parquet": (tmp_path / "all.parquet").read_bytes()})
    insert = sqlalchemy.text("insert into notes values (:id, :text, :who, :day)")
    for url, kind in ((f"sqlite:///{tmp_path}/db", "text"), (sql.address(postgres), "date")):
        with sqlalchemy.create_engine(url).begin() as connection:
            connection.execute(
                sqlalchemy.text(f"create table notes (id text, text text, who text, day {kind})")
            )
            connection.execute(insert, rows)
    statement = 'query = "select * from notes order by id"'
    with web(tmp_path) as base:
        asked = {
            "folder": f'path = "{text}"\n{IN_FILES}',
            "zip": f'path = "{tmp_path}/all.zip"\n{IN_FILES}',
            "s3": f'path = "s3://anywhere/corpus"\n{IN_FILES}',
            "web": f'path = "{base}/text/"\n{IN_FILES}',
            "webzip": f'path = "{base}/all.zip"\n{IN_FILES}',
            "jsonl": f'path = "{tmp_path}/all.jsonl"\n{IN_COLUMNS}',
            "parquet": f'path = "{tmp_path}/all.parquet"\n{IN_COLUMNS}',
            "hub": f'kind = "hub"\npath = "org/anywhere"\n{IN_COLUMNS}',
            "sqlite": f'kind = "sql"\npath = "sqlite:///{tmp_path}/db"\n{statement}\n{IN_COLUMNS}',
            "postgres": f'kind = "sql"\npath = "{postgres}"\n{statement}\n{IN_COLUMNS}',
        }
        for name, source in asked.items():
            run(tmp_path, name, source)
    expected = documents_of(tmp_path / "runs" / "folder")
    assert len(expected) == 40
    assert expected[0]["uri"] == "company-00/2018-03-01.txt"
    for name in asked:
        assert documents_of(tmp_path / "runs" / name) == expected, name
    for path in (tmp_path / "runs").rglob("*"):  # the password is in no file of any run
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_bucket_that_goes_in_mid_run_stops_the_run_which_then_goes_on(
    tmp_path: Path, own_port: int
) -> None:
    text = tmp_path / "text"
    write_corpus(text)
    for path in text.rglob("*.txt"):  # two batches
        path.write_text("".join(f"{n} {path.read_text()}" for n in range(400)))
    (tmp_path / "s3.toml").write_text(RECIPE.format(source=f'path = "s3://in-mid-run"\n{IN_FILES}'))
    first = tmp_path / "runs" / "s3" / "corpus" / "parts" / "read-00000.json"
    with services.s3(own_port):
        services.upload(own_port, "in-mid-run", text)
        began = subprocess.Popen(
            command("run", "s3.toml", "--until", "corpus"),
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for _ in range(6000):
            if first.exists() or began.poll() is not None:
                break
            time.sleep(0.05)
    _, said = began.communicate(timeout=200)
    assert began.returncode == 1, said
    assert "the source cannot be reached" in said
    assert "the run goes on" in said
    assert "Traceback" not in said
    kept = first.stat().st_mtime_ns
    with services.s3(own_port):
        services.upload(own_port, "in-mid-run", text)
        domainlm("run", "s3.toml", "--until", "corpus", cwd=tmp_path)
    assert first.stat().st_mtime_ns == kept  # what was read before is not read again
    run(tmp_path, "folder", f'path = "{text}"\n{IN_FILES}')
    assert documents_of(tmp_path / "runs" / "s3") == documents_of(tmp_path / "runs" / "folder")
