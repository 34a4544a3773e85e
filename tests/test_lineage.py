"""From tokens back to the bytes of their sources, over every kind of source."""

import dataclasses
import gzip
import html
import io
import json
import lzma
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.artifacts import read_json, sha256_file, write_json
from domainlm.corpus import documents, origin, sources
from domainlm.corpus.read import read_batch
from domainlm.errors import DIFFERENCE, DomainLMError
from domainlm.recipe import Source
from domainlm.tokens import encode, lineage, tokenizer
from domainlm.tokens.align import locate
from domainlm.tokens.lineage import Trace
from domainlm.tokens.shards import open_shards
from small import domainlm

PLAIN = (
    "The registrant’s revenue rose to €1,234.5 million in 2021, or 12 %. It rose in 2020 as well.\n"
    "\nÜnïcode, 漢字 and 🎈🎈 rose.\n\tIt rose in 2020 as well. It rose in 2020 as well.\n"
)
PAGE = """<html><head><title>A title</title><style>p { color: red }</style></head><body>
<!-- It rose in 2020 as well. --><h1>Risk &amp; return</h1>
<p>The registrant&rsquo;s <b>re</b>venue rose to &euro;1,234.5&nbsp;million in
2021.</p><p>It rose in 2020 as well.</p>
<table><tr><td>Revenue</td><td>1,234</td><td>1,100</td></tr>
<tr><td>Cost</td><td>1,234</td><td>900</td></tr></table>
<script>var rose = "It rose in 2020 as well.";</script>
<p>It rose in 2020 as well. AT&#38;T, caf&#233; and caf\xe9.</p></body></html>
"""


@dataclasses.dataclass(frozen=True)
class Made:
    """A run of one source up to its shards, and how its sources are read."""

    root: Path
    top: Path
    read: lineage.Read

    def total(self) -> int:
        return open_shards(self.root / "tokens", "train").total

    def trace(self, position: int) -> Trace:
        return lineage.trace(self.root, "tokens", "train", position, self.read)

    def file_bytes(self, found: Trace) -> bytes:
        assert found.source is not None
        data = (self.top / found.source.path).read_bytes()
        return data[found.source.start : found.source.end]


def made(root: Path, edit: Callable[[str], str] = lambda text: text, **settings: object) -> Made:
    """Read a source and encode all that it gives, through the tasks of the stages."""
    source = Source.model_validate(settings)
    entries = sources.listing(source, [])
    sources.write_listing(root / "corpus" / "sources.arrow", entries)
    for number, _ in enumerate(sources.batches(entries)):
        arguments = {"source": source.model_dump(mode="json"), "number": number}
        read_batch(root, arguments)
        part = root / "corpus" / "parts" / f"read-{number:05d}.parquet"
        kept = [
            dataclasses.replace(d, split="train", text=edit(d.text)) for d in documents.read([part])
        ]
        documents.write(root / "corpus" / f"documents-{number:05d}.parquet", kept)
    tokenizer.train(root, {"vocabulary": 400, "sample_bytes": 1_000_000})
    files = documents.paths(root)
    for number, file in enumerate(files):
        path = file.relative_to(root).as_posix()
        encode.encode(root, {"folder": "tokens", "documents": path, "number": number})
    encode.index(root, {"folder": "tokens", "count": len(files)})
    return Made(
        root, sources.root_of(source), lambda document: origin.own_bytes(root, source, document)
    )


def seen(data: bytes) -> str:
    """The words of a piece of HTML, without white space and bars of tables."""
    text = html.unescape(re.sub(r"<[^>]*>", "", data.decode()))
    return re.sub(r"[\s|]", "", text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.slow
def test_every_token_of_plain_text(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for name, text in (("a.txt", PLAIN), ("b.txt", "x" * 900), ("c.txt", PLAIN.upper())):
        (folder / name).write_bytes(text.encode(encoding))
    run = made(tmp_path / "run", path=str(folder))
    spelled = dict[str, bytes]()
    for position in range(run.total()):
        found = run.trace(position)
        if not found.text:
            assert found.note == "the separator after the document"
            continue
        assert found.exact, found
        piece = run.file_bytes(found)
        if encoding == "utf-16":
            assert piece.decode("utf-16-le") == found.text
        else:
            spelled[found.uri] = spelled.get(found.uri, b"") + piece
    if encoding != "utf-16":
        for document in documents.read(documents.paths(run.root)):
            assert spelled[document.uri] == document.text.encode()


def test_text_of_one_byte_a_character(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    text = PLAIN.encode("cp1252", "ignore").decode("cp1252")
    (tmp_path / "text" / "a.txt").write_bytes(text.replace("\n", "\r\n").encode("cp1252"))
    run = made(tmp_path / "run", path=str(tmp_path / "text"))
    for position in range(run.total() - 1):
        found = run.trace(position)
        assert found.exact
        assert run.file_bytes(found).decode("cp1252").replace("\r\n", "\n") == found.text


def test_every_token_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.html").write_bytes(PAGE.encode())
    run = made(tmp_path / "run", path=str(tmp_path / "text"))
    pieces = ""
    for position in range(run.total() - 1):
        found = run.trace(position)
        assert found.exact, found
        assert seen(run.file_bytes(found)) == re.sub(r"[\s|]", "", found.text)
        if found.characters[1] - found.characters[0] and not found.text.isspace():
            pieces += found.text
    assert "AT&T, café and café" in pieces


@pytest.mark.slow
def test_rows_of_json_lines(tmp_path: Path) -> None:
    rows = [
        {"title": "It rose in 2020 as well.", "body": PLAIN, "n": 1},
        {"title": 'quotes " and \\ and /', "body": 'He said "no" to C:\\new\\t and\ttab é 🎈.'},
        {"title": "", "body": PLAIN},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=n == 1) + "\n" for n, r in enumerate(rows)))
    run = made(tmp_path / "run", path=str(path), text="body")
    for position in range(run.total()):
        found = run.trace(position)
        if found.text:
            assert found.exact, found
            assert json.loads(b'"' + run.file_bytes(found) + b'"', strict=False) == found.text


def test_members_of_a_zip_and_rows_of_a_table_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/c.txt", PLAIN * 3)
    run = made(tmp_path / "run", path=str(tmp_path / "a.zip"))
    found = run.trace(5)
    assert (found.uri, found.exact) == ("b/c.txt", False)
    assert "packed" in found.note
    assert (PLAIN * 3).encode()[slice(*found.own)].decode() == found.text
    assert found.source.path == "a.zip"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:  # stored as it is
        archive.writestr("b/c.txt", PLAIN)
    run = made(tmp_path / "run2", path=str(tmp_path / "b.zip"))
    found = run.trace(5)
    assert found.exact
    assert run.file_bytes(found).decode() == found.text
    (tmp_path / "t.csv").write_text('id,text\na,"first, of all"\nb,"It ""rose"" then"\n')
    run = made(tmp_path / "run3", path=str(tmp_path / "t.csv"))
    found = run.trace(run.total() - 2)
    assert (found.source.start, found.source.end, found.source.unit) == (1, 2, "rows")
    assert b'It "rose" then'[slice(*found.own)].decode() == found.text


@pytest.mark.parametrize("packing", ["gz", "zst", "xz"])
def test_origins_count_bytes_of_what_is_unpacked(tmp_path: Path, packing: str) -> None:
    pack = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.compress}[packing]
    lines = b"".join(json.dumps({"text": f"{n} {PLAIN}"}).encode() + b"\n" for n in range(9))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for n in range(3):
            about = tarfile.TarInfo(f"{n}.txt")
            about.size = len(PLAIN.encode())
            archive.addfile(about, io.BytesIO(PLAIN.encode()))
    for number, (name, data) in enumerate((("a.jsonl", lines), ("a.tar", tar.getvalue()))):
        path = tmp_path / f"{name}.{packing}"
        path.write_bytes(pack(data))
        run = made(tmp_path / f"run{number}", path=str(path))
        for position in range(3, run.total(), 50):
            found = run.trace(position)
            if found.text:
                assert found.exact, found
                piece = data[found.source.start : found.source.end]
                text = json.loads(b'"' + piece + b'"') if not number else piece.decode()
                assert text == found.text


def test_what_was_put_in_lies_between_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    text = "Some words before it stand here, and write to ann@example.com for more of them. " * 2
    (tmp_path / "text" / "a.txt").write_text("An introduction to it.\n\n" + text)
    run = made(
        tmp_path / "run", lambda t: t.replace("ann@example.com", "[EMAIL]", 1),
        path=str(tmp_path / "text"),
    )  # fmt: skip
    put_in = []
    for position in range(run.total() - 1):
        found = run.trace(position)
        if found.exact:
            assert run.file_bytes(found).decode() == found.text
        else:
            put_in.append(found)
            assert run.file_bytes(found).strip() == b"ann@example.com"
    assert "[EMAIL]" in "".join(f.text for f in put_in)


def test_a_hidden_copy_is_not_taken_for_the_piece() -> None:
    head, tail = "Words that come before it, quite a few. ", "Words that come after it, also a few."
    data = f"<p>{head}</p><p>one two three</p><i hidden>one two three</i><p>{tail}</p>".encode()
    text = f"{head}\n\none two three\n\n{tail}"
    at = text.index("two")
    start, end, exact = locate(text, at, at + 3, data)
    assert not exact
    assert data[start:end].count(b"two") == 2
    start, end, exact = locate(text, text.index("after"), text.index("after") + 5, data)
    assert (data[start:end], exact) == (b"after", True)


@given(
    before=st.text(alphabet="ab \n|&<é漢🎈", max_size=30),
    piece=st.text(alphabet="ab \n|é漢🎈", min_size=1, max_size=6),
    after=st.text(alphabet="ab \n|&>é漢🎈", max_size=30),
)
def test_an_exact_place_holds_the_piece(before: str, piece: str, after: str) -> None:
    text = before + piece + after
    start, end, exact = locate(text, len(before), len(before) + len(piece), text.encode())
    assert exact
    assert text.encode()[start:end].decode() == piece


@pytest.fixture(scope="module")
def filings_run(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("edgar"), kind="edgar", path="sample:edgar", limit=6)


@settings(max_examples=60)
@given(data=st.data())
@pytest.mark.slow
def test_tokens_of_filings(filings_run: Made, data: st.DataObject) -> None:
    found = filings_run.trace(data.draw(st.integers(0, filings_run.total() - 1)))
    if not found.text:
        return
    piece = filings_run.file_bytes(found)
    wanted = re.sub(r"[\s|]", "", found.text)
    if found.exact:
        assert seen(piece) == wanted
    else:
        assert wanted in seen(piece)


@pytest.mark.slow
def test_most_tokens_of_filings_are_exact(filings_run: Made) -> None:
    total = filings_run.total()
    found = [filings_run.trace(n) for n in range(7, total, total // 150)]
    assert sum(f.exact for f in found) > 0.9 * len(found)


def test_a_source_that_changed_is_a_difference(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text(PLAIN)
    run = made(tmp_path / "run", path=str(folder))
    (folder / "a.txt").write_text(PLAIN.replace("rose", "fell"))
    with pytest.raises(DomainLMError, match="not what was read") as caught:
        run.trace(3)
    assert caught.value.exit_code == DIFFERENCE
    (folder / "a.txt").unlink()
    found = run.trace(3)
    assert found.source is None
    assert "not at hand" in found.note
    for number in range(2):  # what was read is what the shard holds, or it is a difference too
        table = documents.paths(run.root)[0]
        changed = [
            dataclasses.replace(d, text=d.text + "!" * number) for d in documents.read([table])
        ]
        documents.write(table, changed)
        if number:
            with pytest.raises(DomainLMError, match="does not hold the text"):
                run.trace(3)
        else:
            assert run.trace(3).text == found.text
    with pytest.raises(DomainLMError, match="there is no token"):
        run.trace(run.total())


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to do harm to; its sources stay where they are."""
    shutil.copytree(finished / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.part"))
    return tmp_path


@pytest.mark.slow
def test_verify_traces_a_token(run_folder: Path, finished: Path) -> None:
    for arm, split in ((), "train"), (("--arm", "continued"), "validation"):
        words = ("verify", "runs/small", "--token", "1234", "--split", split, "--json", *arm)
        found = json.loads(domainlm(*words, cwd=run_folder).stdout)
        assert found["exact"]
        place = found["source"]
        data = (finished / "text" / place["path"]).read_bytes()
        assert data[place["start"] : place["end"]].decode() == found["text"]
    shown = domainlm("verify", "runs/small", "--token", "1234", cwd=run_folder).stdout
    assert "source_sha256" in shown
    domainlm("verify", "runs/small", "--token", "1234", "--arm", "no", cwd=run_folder, code=2)
    domainlm("verify", "runs/small", "--token", "99999999", cwd=run_folder, code=2)


@pytest.mark.slow
def test_verify_finds_a_source_and_a_shard_that_changed(run_folder: Path, finished: Path) -> None:
    words = ("verify", "runs/small", "--token", "1234")
    shown = json.loads(domainlm(*words, "--json", cwd=run_folder).stdout)
    file = finished / "text" / shown["uri"]
    before = file.read_bytes()
    file.write_bytes(before.replace(b"Annual", b"annual"))
    try:
        done = domainlm(*words, cwd=run_folder, code=4)
        assert "the source is not what was read" in done.stderr
    finally:
        file.write_bytes(before)
    shard = run_folder / "runs" / "small" / shown["shard"]
    ids = bytearray(shard.read_bytes())
    ids[2 * 1234] ^= 1
    shard.write_bytes(ids)
    done = domainlm(*words, cwd=run_folder, code=4)
    assert "does not hold the text" in done.stderr


@pytest.mark.slow
def test_the_root_of_the_evidence_tells_a_manifest_that_was_made_to_fit(run_folder: Path) -> None:
    root = run_folder / "runs" / "small"
    assert read_json(root / "evaluation" / "evidence.json")["corpus"]["merkle_root"]
    file = root / "corpus" / "documents-00000.parquet"
    file.write_bytes(file.read_bytes() + b"\0")
    manifest = read_json(root / "manifest.json")
    for record in manifest["tasks"].values():
        for output in record["outputs"]:
            if output["path"] == "corpus/documents-00000.parquet":
                output |= {"sha256": sha256_file(file), "bytes": file.stat().st_size}
    write_json(root / "manifest.json", manifest)
    done = domainlm("verify", "runs/small", cwd=run_folder, code=4)
    assert "manifest.json: its Merkle root is not that of the evidence\n" in done.stdout
