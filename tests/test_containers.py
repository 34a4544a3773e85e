import csv
import datetime
import gzip
import io
import json
import random
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.artifacts import read_json
from domainlm.corpus import containers, documents, sources
from domainlm.corpus.containers import kind, members, pieces
from domainlm.corpus.documents import Document
from domainlm.corpus.read import read_batch
from domainlm.corpus.tables import Member
from domainlm.errors import DomainLMError
from domainlm.recipe import Source

WORDS = "The company makes valves. Demand rose – as it did before; cafés and “quotes” too. "


def texts(groups: int = 3, years: int = 3) -> dict[str, str]:
    found = {}
    for group in range(groups):
        for year in range(2018, 2018 + years):
            path = f"company-{group}/{year}-03-01.txt"
            found[path] = f"Report of {group} for {year}.\n\n" + WORDS * (group + year - 2015)
        found[f"company-{group}/deeper/notes.md"] = f"# Notes {group}\n\n{WORDS}\n\n## More\n\nend"
    return found


def read(top: Path, **keys: Any) -> tuple[list[Document], dict[str, Any]]:
    """Documents and the summed account of a source, through the listing and the reading task."""
    source = Source(**keys)
    run = top / "run"
    entries = sources.listing(source, [])
    sources.write_listing(run / "corpus" / "sources.arrow", entries)
    found: list[Document] = []
    total: dict[str, Any] = {}

    def add(to: dict[str, Any], more: dict[str, Any]) -> None:
        for key, value in more.items():
            if isinstance(value, dict):
                add(to.setdefault(key, {}), value)
            else:
                to[key] = to.get(key, 0) + value

    for number, _ in enumerate(sources.batches(entries)):
        read_batch(run, {"source": source.model_dump(mode="json"), "number": number})
        name = run / "corpus" / "parts" / f"read-{number:05d}"
        found += documents.read([name.with_suffix(".parquet")])
        add(total, read_json(name.with_suffix(".json")))
    skipped = sum(s["bytes"] for s in total["skipped"].values())
    assert total["bytes"] == total["packing_bytes"] + skipped + total["read"]["bytes"]
    assert total["extracted"]["documents"] == len(found)
    assert total["extracted"]["bytes"] == sum(len(d.text.encode()) for d in found)
    return found, total


def bare(found: list[Document]) -> list[dict[str, Any]]:
    """Documents without their origin, in the order of their URIs."""
    rows = [{k: v for k, v in d.row().items() if k != "origin"} for d in found]
    return sorted(rows, key=lambda row: row["uri"])


def skipped(account: dict[str, Any]) -> dict[str, int]:
    return {slug: count["files"] for slug, count in account["skipped"].items()}


def zipped(files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def rows_of(found: dict[str, str]) -> list[dict[str, str]]:
    """Rows of a table with the facts that a folder's paths tell."""
    return [
        {
            "name": path,
            "body": text,
            "who": path.rpartition("/")[0],
            "day": path[-14:-4] if path.endswith(".txt") else "",
            "noise": "x" * 30,
        }
        for path, text in found.items()
    ]


def jsonl(rows: list[dict[str, Any]], ascii_: bool = False) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=ascii_).encode() + b"\n" for r in rows)


def as_csv(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None, group: int = 2) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, row_group_size=group)
    return buffer.getvalue()


def typed(rows: list[dict[str, str]]) -> bytes:
    """Parquet with the types that other tools write."""
    schema = pa.schema(
        [
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("body", pa.large_string()),
            ("who", pa.binary()),
            ("day", pa.timestamp("us")),
        ]
    )
    return parquet(
        [
            {
                "name": r["name"],
                "body": r["body"],
                "who": r["who"].encode(),
                "day": datetime.datetime.fromisoformat(r["day"] + "T10:00") if r["day"] else None,
            }
            for r in rows
        ],
        schema,
    )


COLUMNS = {"text": "body", "id": "name", "group": "who", "date": "day"}
FORMS: dict[str, tuple[Callable[[dict[str, str]], bytes], dict[str, str]]] = {
    "all.zip": (lambda t: zipped(t), {}),
    "stored.zip": (lambda t: zipped(t, zipfile.ZIP_STORED), {}),
    "all.tar": (lambda t: tarred({k: v.encode() for k, v in t.items()}), {}),
    "all.tgz": (lambda t: tarred({f"./{k}": v.encode() for k, v in t.items()}, "w:gz"), {}),
    "all.tar.xz": (lambda t: tarred({k: v.encode() for k, v in t.items()}, "w:xz"), {}),
    "all.tar.zst": (
        lambda t: zstandard.compress(tarred({k: v.encode() for k, v in t.items()})), {},
    ),
    "all.jsonl": (lambda t: jsonl(rows_of(t)), COLUMNS),
    "all.ndjson.gz": (lambda t: gzip.compress(jsonl(rows_of(t), True)), COLUMNS),
    "all.jsonl.zst": (
        lambda t: b"".join(zstandard.compress(jsonl([r])) for r in rows_of(t)), COLUMNS,
    ),
    "all.csv": (lambda t: b"\xef\xbb\xbf" + as_csv(rows_of(t)), COLUMNS),
    "semi.csv.gz": (lambda t: gzip.compress(as_csv(rows_of(t), ";")), COLUMNS),
    "all.tsv": (lambda t: as_csv(rows_of(t), "\t"), COLUMNS),
    "all.parquet": (lambda t: parquet(rows_of(t)), COLUMNS),
    "typed.parquet": (lambda t: typed(rows_of(t)), COLUMNS),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_same_corpus_in_any_container(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts()
    for path, text in found.items():
        (tmp_path / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / path).write_text(text)
    pattern = r"(\d{4}-\d\d-\d\d)\.txt$"
    expected, _ = read(tmp_path, path=str(tmp_path / "folder"), date=pattern)
    assert len(expected) == len(found) and {len(d.sections) for d in expected} == {0, 2}
    pack, columns = FORMS[name]
    (tmp_path / name).write_bytes(pack(found))
    keys = columns or {"date": pattern}
    same, account = read(tmp_path, path=str(tmp_path / name), **keys)
    assert bare(same) == bare(expected)
    assert account["skipped"] == {} and account["bytes"] == (tmp_path / name).stat().st_size
    monkeypatch.setattr(sources, "BATCH_BYTES", 700)  # the same in pieces
    assert bare(read(tmp_path, path=str(tmp_path / name), **keys)[0]) == bare(expected)


def test_archives_and_compressed_files_among_others(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    rows = [{"text": WORDS}, {"text": "second"}]
    inner = {"a/x.txt": WORDS, "rows.jsonl": jsonl(rows), "code.py": "x = 1", "t.parquet": b""}
    inner["t.parquet"] = parquet([{"text": "of parquet"}])
    (top / "sub" / "pack.zip").write_bytes(zipped(inner))
    (top / "sub" / "pack.tar").write_bytes(tarred({"t.parquet": inner["t.parquet"]}))
    (top / "sub" / "one.txt.gz").write_bytes(gzip.compress(WORDS.encode()))
    (top / "two.jsonl").write_bytes(jsonl(rows))
    found, account = read(tmp_path, path=str(top), exclude=["**/x.html"])
    second = len(jsonl(rows[:1]))
    assert {d.uri: d.group for d in found} == {
        "sub/one.txt": "sub",
        "sub/pack.tar/t.parquet#0": "sub/pack.tar",
        "sub/pack.zip/a/x.txt": "sub/pack.zip/a",
        "sub/pack.zip/rows.jsonl#0": "sub/pack.zip",
        f"sub/pack.zip/rows.jsonl#{second}": "sub/pack.zip",
        "sub/pack.zip/t.parquet#0": "sub/pack.zip",
        "two.jsonl#0": ".",
        f"two.jsonl#{second}": ".",
    }
    assert skipped(account) == {"unknown_type": 1}
    code, _ = read(tmp_path, path=str(top / "sub" / "pack.zip"), include=["*.py"])
    assert [d.uri for d in code] == ["code.py"]
    none, account = read(tmp_path, path=str(top / "sub" / "pack.zip"), exclude=["a/**"])
    assert "a/x.txt" not in {d.uri for d in none} and skipped(account)["excluded"] == 1


def test_origins_lead_back_to_the_bytes(tmp_path: Path) -> None:
    found = {p: t for p, t in texts().items() if p.endswith(".txt")}
    packed = {
        "a.tar": tarred({k: v.encode() for k, v in found.items()}),
        "a.zip": zipped(found),
        "a.jsonl": jsonl(rows_of(found)),
        "a.parquet": parquet(rows_of(found)),
        "a.csv": as_csv(rows_of(found)),
    }
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        keys = COLUMNS if name[2:] in {"jsonl", "parquet", "csv"} else {}
        for n, document in enumerate(read(tmp_path, path=str(tmp_path / name), **keys)[0]):
            origin, text = document.origin, found[document.uri]
            assert origin and origin.path == name
            part = data[origin.start : origin.end]
            if name == "a.tar":
                assert part == text.encode()
            elif name == "a.zip":
                assert zlib.decompress(part, -15) == text.encode()
            elif name == "a.jsonl":
                assert json.loads(part)["body"] == text
            else:
                assert (origin.start, origin.end, origin.unit) == (n, n + 1, "rows")


def found_in(data: bytes, name: str, **keys: Any) -> list[Member]:
    return list(members(io.BytesIO(data), name, Source(path=f"/x/{name}", **keys)))


def reasons(found: list[Member]) -> list[str]:
    for member in found:
        assert (member.data is None) == bool(member.skipped)
    return [m.skipped for m in found]


line = st.one_of(
    st.builds(lambda t: json.dumps({"text": t}).encode(), st.text(max_size=20)),
    st.sampled_from([b"", b" ", b"{", b"[1]", b'{"text": 3}', b"\xff", b'{"text": null}']),
    st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")),
)


@given(st.lists(line, max_size=12), st.booleans(), st.integers(1, 60))
def test_pieces_of_json_lines_have_the_same_rows(
    lines: list[bytes], closed: bool, limit: int
) -> None:
    data = b"\n".join(lines) + b"\n" * closed
    source = Source(path="/x/a.jsonl")
    whole = [m for m in members(io.BytesIO(data), "a.jsonl", source) if m.skipped != "empty"]
    cut = pieces(io.BytesIO(data), "a.jsonl", len(data), limit)
    assert [
        m
        for start, stop in cut
        for m in members(io.BytesIO(data), "a.jsonl", source, start, stop)
        if m.skipped != "empty"
    ] == whole


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.text("ab./", min_size=1, max_size=4), st.text(max_size=30)), max_size=9),
    st.integers(1, 300),
    st.booleans(),
)
def test_pieces_of_parquet_and_zip_have_the_same_members(
    files: list[tuple[str, str]], limit: int, table: bool
) -> None:
    if table:
        name = "a.parquet"
        data = parquet([{"text": t} for _, t in files], pa.schema([("text", pa.string())]))
    else:
        name, buffer = "a.zip", io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, text in files:
                with warnings.catch_warnings(action="ignore"):  # two of one name
                    archive.writestr(path + ".txt", text)
        data = buffer.getvalue()
    whole = [m for m in found_in(data, name) if m.skipped != "empty"]
    cut = pieces(io.BytesIO(data), name, len(data), limit)
    source = Source(path=f"/x/{name}")
    assert [
        m
        for start, stop in cut
        for m in members(io.BytesIO(data), name, source, start, stop)
        if m.skipped != "empty"
    ] == whole


def test_names_tell_what_a_file_is() -> None:
    assert kind("a/b.tar.gz") == (".tar", ".gz") and kind("A.TGZ") == (".tar", ".gz")
    assert kind("x.d/readme") == ("", "") and kind("a.txt") == (".txt", "")
    assert kind("a.jsonl.zst") == (".jsonl", ".zst") and kind("a.gz") == ("", ".gz")


HOSTILE = ["../up.txt", "/etc/passwd.txt", "a/../../b.txt", "C:\\x.txt", "..\\y.txt"]


def test_names_that_lead_out_of_an_archive_are_counted(tmp_path: Path) -> None:
    files = {**dict.fromkeys(HOSTILE, b"out"), "in/ok.txt": b"in"}
    for data, name in ((zipped(files), "a.zip"), (tarred(files), "a.tar")):
        found = found_in(data, name)
        assert sorted(reasons(found)) == ["", *["unsafe_path"] * 5]
        assert [m.name for m in found if m.data] == ["in/ok.txt"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_document_in_an_archive() -> None:
    files = {
        "a.zip": b"", "b.tar.gz": b"", "c.txt.gz": b"", ".hidden/x.txt": b"h",
        "__MACOSX/._x.txt": b"", "y.bin": b"\0", "dir/z.txt": b"text",
    }  # fmt: skip
    found = {m.name: m.skipped for m in found_in(zipped(files), "x.zip")}
    assert found == {
        "a.zip": "nested_archive", "b.tar.gz": "nested_archive", "c.txt.gz": "nested_archive",
        ".hidden/x.txt": "hidden", "__MACOSX/._x.txt": "hidden", "y.bin": "unknown_type",
        "dir/z.txt": "",
    }  # fmt: skip
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for form in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("link.txt")
            info.type, info.linkname = form, "/etc/passwd"
            archive.addfile(info)
    assert reasons(found_in(buffer.getvalue(), "x.tar")) == ["empty"]


def test_a_bomb_is_read_no_further_than_the_limit() -> None:
    zeros = b"\0" * 3_000_000
    honest = zipped({"a.txt": zeros, "b.txt": b"text"})
    lying = bytearray(honest)
    for sign, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # sizes in both headers
        place = lying.index(sign) + at
        lying[place : place + 4] = struct.pack("<I", 10)
    for data in (honest, bytes(lying)):
        found = found_in(data, "x.zip", largest=100_000)
        assert reasons(found)[0] in {"too_large", "damaged"} and reasons(found)[1] == ""
    assert reasons(found_in(tarred({"a.txt": zeros}), "x.tar", largest=1000)) == ["too_large"]
    assert reasons(found_in(gzip.compress(zeros), "x.txt.gz", largest=1000)) == ["too_large"]
    assert reasons(found_in(zeros, "x.txt", largest=1000)) == ["too_large"]


def test_a_bomb_of_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({f"{n}.txt": b"x" for n in range(100)})
    monkeypatch.setattr(containers, "DIRECTORY", 1000)
    assert reasons(found_in(data, "x.zip")) == ["too_large"]
    assert pieces(io.BytesIO(data), "x.zip", len(data), 10) == [(0, 0)]


def test_files_that_overlap_in_a_zip_are_not_read() -> None:
    """The bomb of Fifield (2019): many entries of the directory, one body."""
    one = zipped({"a.txt": b"x" * 50_000})
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    entry = one[start:end]
    entries = [entry.replace(b"a.txt", b"%c.txt" % c) for c in b"abcdefgh"]
    tail = bytearray(one[end:])
    tail[8:16] = struct.pack("<HHI", 8, 8, sum(map(len, entries)))
    data = one[:start] + b"".join(entries) + bytes(tail)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.infolist()) == 8
    assert reasons(found_in(data, "x.zip")) == ["damaged"] * 8


def test_an_encrypted_zip() -> None:
    data = bytearray(zipped({"a.txt": "secret words", "b.txt": "plain"}))
    for sign, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(sign) + at] |= 1
    assert reasons(found_in(bytes(data), "x.zip")) == ["encrypted", ""]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.slow
def test_of_a_truncated_container_what_was_read_stays(name: str, share: float) -> None:
    found = {k: random.Random(k).randbytes(3000).hex() for k in texts(30)}
    pack, columns = FORMS[name]
    data = pack(found)
    rows = found_in(data[: int(len(data) * share)], name, **columns)
    kept = {m.name: m.data for m in rows if m.data is not None}
    full = {m.name: m.data for m in found_in(data, name, **columns)}
    assert len(full) == len(found)
    assert rows[-1].skipped in {"damaged", "bad_json"} or name.endswith(("csv", "tsv"))
    whole = list(kept)[:-1] if name.endswith(("csv", "tsv")) else list(kept)  # its last is cut
    assert all(kept[n] == full[n] for n in whole)
    if share == 0.9 and "zip" not in name and "parquet" not in name:
        assert len(kept) > 20


@pytest.mark.parametrize("name", [*FORMS, "x.txt", "x.txt.gz", "x.txt.bz2", "x.txt.zst"])
def test_noise_never_raises(name: str) -> None:
    rng = random.Random(1)
    whole = FORMS[name][0](texts()) if name in FORMS else b""
    for n in range(60):
        data = bytearray(whole or rng.randbytes(200))
        for _ in range(1 + n % 7):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for member in found_in(bytes(data), name, **(FORMS[name][1] if name in FORMS else {})):
            member.name.encode()
    assert reasons(found_in(b"", name))[-1:] in (["damaged"], ["empty"], [""])


def test_a_broken_header_in_the_middle_of_a_tar_is_not_its_end() -> None:
    data = bytearray(tarred({f"{n}.txt": b"text" for n in range(4)}))
    data[2048 + 5] ^= 0xFF  # in the header of the third member
    assert reasons(found_in(bytes(data), "x.tar")) == ["", "", "damaged"]
    assert reasons(found_in(bytes(data[:2048]), "x.tar")) == ["", "", "damaged"]  # no end


def test_a_broken_table_in_an_archive_is_the_only_one_lost() -> None:
    good = parquet([{"text": "of parquet"}])
    files = {"a.parquet": b"PAR1 none", "b.csv": b'text\n"' + b"x" * 2000, "c.parquet": good}
    files |= {"d.parquet": parquet([{"no": 1}]), "e.txt": b"text"}
    for data, name in ((zipped(files), "x.zip"), (tarred(files), "x.tar")):
        found = found_in(data, name, largest=1000)
        assert reasons(found) == ["damaged", "damaged", "", "no_text", ""]
        assert [m.size for m in found[:1] + found[3:]] == [9, len(files["d.parquet"]), 4]


def test_an_oversized_header_of_a_tar_is_not_read_into_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    assert reasons(found_in(info.tobuf() + b"\0" * 4096, "x.tar")) == ["damaged"]


ROWS = [
    b'{"text": "good"}', b'{"text": ""}', b'{"text": null}', b'{"other": 1}', b'{"text": 5}',
    b'{"text": ["a"]}', b"[1, 2]", b"not json", b"[" * 100_000, b'{"text": "\xff"}',
    b'{"text": "\\ud800 half"}', b'{"text": "ok", "id": "\\udfff"}', b"", b'{"text": "last"}',
]  # fmt: skip


def test_bad_rows_of_json_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(ROWS))
    found, account = read(tmp_path, path=str(tmp_path / "a.jsonl"), id="id")
    assert [d.text for d in found] == ["good", "\ufffd half", "ok", "last"]
    assert found[2].uri == "\ufffd"
    assert skipped(account) == {"empty": 1, "no_text": 2, "wrong_type": 2, "bad_json": 4}


def test_ids_titles_and_facts_of_rows() -> None:
    row = {"text": "t", "id": 0, "title": "A", "who": "ann", "when": "2020-05-06T10:00:00Z"}
    keys = {"id": "id", "title": "title", "group": "who", "date": "when"}
    (found,) = found_in(jsonl([row]), "a.jsonl", **keys)
    day = datetime.date(2020, 5, 6)
    assert (found.name, dict(found.facts)) == ("0", {"group": "ann", "title": "A", "date": day})
    (found,) = found_in(jsonl([row | {"id": " ", "who": None, "when": "?"}]), "a.jsonl", **keys)
    assert (found.name, dict(found.facts)) == ("a.jsonl#0", {"title": "A"})


def test_parquet_without_a_column_of_text() -> None:
    assert reasons(found_in(parquet([{"a": 1}]), "a.parquet")) == ["no_text"]
    assert reasons(found_in(parquet([{"text": 1}, {"text": 2}]), "a.parquet")) == ["wrong_type"] * 2
    rows = [{"text": None}, {"text": "t"}]
    assert reasons(found_in(parquet(rows), "a.parquet")) == ["no_text", ""]
    bad = pa.array([b"\xe9t\xe9", b"ok"]).view(pa.string())  # what claims to be UTF-8 and is not
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": bad}), buffer)
    assert [m.data for m in found_in(buffer.getvalue(), "a.parquet")] == [b"\xe9t\xe9", b"ok"]


def test_cells_of_another_encoding() -> None:
    data = b'text,id\r\n"caf\xe9, ""x""\r\ny",1\r\n\r\nshort\r\n'
    found = found_in(data, "a.csv")
    assert [m.data for m in found] == [b'caf\xe9, "x"\r\ny', b"short"]


def test_a_store_that_is_lost_stops_and_is_not_counted() -> None:
    class Lost(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            place = self.tell()
            part = super().read(size)
            if place <= 5000 < place + len(part):
                raise DomainLMError("the source cannot be reached")
            return part

        def readinto(self, buffer: Any) -> int:
            part = self.read(len(buffer))
            buffer[: len(part)] = part
            return len(part)

    found = {f"{n}.txt": random.Random(n).randbytes(3000).hex() for n in range(4)}
    for name, (pack, columns) in FORMS.items():
        if name == "typed.parquet":
            continue
        data = pack({f"{'x' * 10}{k}": v for k, v in found.items()})
        with pytest.raises(DomainLMError, match="cannot be reached"):
            list(members(Lost(data), name, Source(path=f"/x/{name}", **columns)))


def test_names_of_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", encoding="utf-8") as archive:
        for name in ("caf\udce9.txt", "<b>&amp;\x07\n.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    found, _ = read(tmp_path, path=str(tmp_path / "x.tar"))
    assert [d.uri for d in found] == ["caf\\xe9.txt", "<b>&amp;\x07\n.txt"]


@pytest.mark.slow
def test_ten_thousand_empty_files(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({f"{n}.txt": b"" for n in range(10_000)}))
    (tmp_path / "x.tgz").write_bytes(tarred({f"{n}.txt": b"" for n in range(10_000)}, "w:gz"))
    for name in ("x.zip", "x.tgz"):
        found, account = read(tmp_path, path=str(tmp_path / name))
        assert found == [] and skipped(account) == {"empty": 10_000}


MEASURE = """
import sys
from domainlm.corpus.containers import members
from domainlm.recipe import Source
source = Source(path=sys.argv[1], largest=1_000_000)
from small import peak
before = peak()
with open(sys.argv[1], "rb") as file:
    slugs = [m.skipped for m in members(file, sys.argv[1].rpartition("/")[2], source)]
print(len(slugs), sorted(set(slugs)), (peak() - before) // 2**20)
"""


def peak(path: Path) -> tuple[str, int]:
    """The reasons of the members of a file, and by how many MB they raised the memory's peak."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    words, _, memory = done.stdout.strip().rpartition(" ")
    return words, int(memory)


@pytest.mark.slow
def test_memory_is_bounded_by_one_member(tmp_path: Path) -> None:
    with open(tmp_path / "line.jsonl", "wb") as file:  # one line of 1 GB
        file.write(b'{"text": "')
        file.truncate(1_000_000_000)
        file.seek(0, 2)
        file.write(b'"}\n{"text": "next"}\n')
    words, memory = peak(tmp_path / "line.jsonl")
    assert words == "2 ['', 'too_large']" and memory < 50
    (tmp_path / "line.csv").write_bytes(b'text\n"' + b"x\n" * 20_000_000)
    words, memory = peak(tmp_path / "line.csv")
    assert words == "1 ['damaged']" and memory < 50
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(3):
            with archive.open(f"{n}.txt", "w", force_zip64=True) as out:
                for _ in range(100):
                    out.write(b"\0" * 1_000_000)
    words, memory = peak(tmp_path / "bomb.zip")
    assert words == "3 ['too_large']" and memory < 50
    with gzip.open(tmp_path / "many.tar.gz", "wb", 1) as out:  # 30,000 members
        head = tarfile.TarInfo("a.txt").tobuf()
        for _ in range(30):
            out.write(head * 1000)
        out.write(b"\0" * 1024)
    words, memory = peak(tmp_path / "many.tar.gz")
    assert words == "30000 ['']" and memory < 80
    rows = pa.table({"text": ["x" * 100_000] * 2000})
    # A page is decoded whole, and unless told otherwise a writer counts only every 1,024 rows.
    pq.write_table(rows, tmp_path / "rows.parquet", use_dictionary=False, write_batch_size=8)
    words, memory = peak(tmp_path / "rows.parquet")
    assert words == "2000 ['']" and memory < 120


def test_the_rows_of_a_query_are_numbered_over_its_pieces(tmp_path: Path) -> None:
    table = tmp_path / "corpus" / "table.parquet"
    table.parent.mkdir()
    table.write_bytes(parquet([{"text": f"row {n}"} for n in range(5)]))
    source = Source(kind="sql", path="sqlite:///x")
    with open(table, "rb") as file:
        cut = pieces(file, "corpus/table.parquet", table.stat().st_size, 1)
    assert cut == [(0, 1), (1, 2), (2, 3)]
    entries = [
        sources.Entry("corpus/table.parquet", 10, 0, "0" * 64, start=start, stop=stop)
        for start, stop in cut
    ]
    sources.write_listing(tmp_path / "corpus" / "sources.arrow", entries)
    read_batch(tmp_path, {"source": source.model_dump(mode="json"), "number": 0})
    found = list(documents.read([tmp_path / "corpus" / "parts" / "read-00000.parquet"]))
    assert [(d.uri, d.text) for d in found] == [(f"row-{n}", f"row {n}") for n in range(5)]
    assert read_json(tmp_path / "corpus" / "parts" / "read-00000.json")["files"] == 1


def test_a_file_that_is_gone_since_the_listing_is_counted(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.jsonl"):
        (tmp_path / name).write_bytes(jsonl([{"text": "words"}]))
    source = Source(path=str(tmp_path))
    entries = sources.listing(source, [])
    sources.write_listing(tmp_path / "corpus" / "sources.arrow", entries)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c.jsonl").unlink()
    read_batch(tmp_path, {"source": source.model_dump(mode="json"), "number": 0})
    account = read_json(tmp_path / "corpus" / "parts" / "read-00000.json")
    size = len(jsonl([{"text": "words"}]))
    assert account["skipped"] == {"unreadable": {"files": 2, "bytes": 2 * size}}
    assert account["read"] == {"files": 1, "bytes": size} and account["packing_bytes"] == 0
