"""Sources that are not local folders: any URL that fsspec opens, and data sets of the Hub."""

import contextlib
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit

from domainlm.artifacts import sha256_json
from domainlm.corpus.patience import Outlasting, patiently, unreachable, words
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Source

WHOLE = 8_000_000  # bytes up to which an object is fetched by one request
BLOCK = 4_000_000  # bytes a request of a larger one
CONVERTED = "refs/convert/parquet"  # the Hub's own copy of a data set as Parquet
FAMILIES = ((".parquet",), (".jsonl", ".ndjson"), (".csv", ".tsv"), (".zip", ".tar"), (".txt",))
# What a store says of an object: its content's version, or else when it was written.
VERSIONS = ("etag", "content-md5", "md5hash", "generation", "crc", "blob_id")
TIMES = ("last-modified", "lastmodified", "last_modified", "mtime", "updated", "created")
EXTRAS = {"s3": "domainlm[s3]", "s3a": "domainlm[s3]", "http": "fsspec[http]"}


@dataclass(frozen=True)
class Found:
    """An object of a store: `path` below the source's root, `version` for what is pinned."""

    path: str
    bytes: int
    sha256: str
    version: str = ""


def is_remote(source: Source) -> bool:
    """True where the files are reached through fsspec or the Hub."""
    return source.kind == "hub" or (
        source.kind == "files"
        and not source.path.startswith("file://")
        and ("://" in source.path or "::" in source.path)
    )


def listed(source: Source, wanted: Callable[[str], bool], offline: bool = False) -> list[Found]:
    """All objects below the source's path whose relative path is `wanted`; a single object always.

    Raises `DomainLMError` where there is nothing, no permission or no way to the store.
    """
    if offline and not source.path.startswith("memory:"):
        raise DomainLMError(
            "--offline asks no server, and the corpus is on one",
            where=source.path,
            fix="give the command without --offline, or a copy of the corpus with --corpus PATH",
            exit_code=USAGE,
        )
    try:
        return _hub(source, wanted) if source.kind == "hub" else _objects(source, wanted)
    except (FileNotFoundError, ValueError) as error:
        raise _nothing(source, error) from error
    except PermissionError as error:
        raise DomainLMError(
            "no permission to read the source",
            where=source.path,
            why=words(error),
            fix="hf auth login, or set HF_TOKEN"
            if source.kind == "hub"
            else "give the store's own library its keys (s3: AWS_PROFILE, or AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY; AWS_ENDPOINT_URL where the store is not Amazon's)",
        ) from error


@contextlib.contextmanager
def opened(source: Source, path: str, size: int | None, version: str = "") -> Iterator[BinaryIO]:
    """The bytes of an object, seekable; a lost connection is taken up again where it was.

    `size` is None where it is not known, as of the whole of which there is a piece. Raises
    FileNotFoundError or PermissionError for one bad object, `DomainLMError` where it is the store
    that cannot be reached.
    """
    fs, root = _store(source, version)
    place = _place(source, root, path)
    ranged = source.kind == "hub" or size is None or size > WHOLE

    def open_(ranges: bool) -> Any:
        if _is_http(source) and not ranges:
            file = tempfile.TemporaryFile()  # noqa: SIM115
            with fs.open(place, "rb", block_size=0) as stream:
                shutil.copyfileobj(stream, file, BLOCK)
            return file
        known = {"size": size} if size and (source.kind == "hub" or _is_http(source)) else {}
        return fs.open(place, "rb", block_size=BLOCK, **known)

    def ask(call: Callable[[], bytes]) -> bytes:
        try:
            return patiently(source.path, call)
        except (FileNotFoundError, PermissionError):
            _check_standing(source, fs, root)
            raise

    file: io.BufferedIOBase
    if ranged:
        raw = Outlasting(ask, size, open_)
        raw.first()
        file = io.BufferedReader(raw, 1 << 20)
    else:
        file = io.BytesIO(ask(lambda: fs.cat_file(place)))
    with file:
        yield cast(BinaryIO, file)


def in_parts(source: Source, path: str, size: int, version: str = "") -> bool:
    """False where a server sends an object as a whole only, so that cutting it gains nothing."""
    if not _is_http(source):
        return True
    fs, root = _store(source, version)

    def ask() -> bool:
        place = _place(source, root, path)
        with fs.open(place, "rb", block_size=1, cache_type="none", size=size) as file:
            try:
                file.seek(1)
                return len(file.read(1)) == 1
            except ValueError:
                return False

    return patiently(source.path, ask)


def _is_http(source: Source) -> bool:
    return source.path.startswith(("http://", "https://"))


def _store(source: Source, version: str = "") -> tuple[Any, str]:
    """The file system of a source and the path in it that its files are below."""
    import fsspec

    if source.kind == "hub":
        from huggingface_hub import HfFileSystem

        return HfFileSystem(), f"datasets/{source.path}@{quote(version, safe='')}"
    # Compressed on the way, an object would have neither its size nor its ranges.
    options = {"headers": {"Accept-Encoding": "identity"}} if _is_http(source) else {}
    protocol = re.split("::|://", source.path)[0]
    try:
        fs, root = fsspec.core.url_to_fs(source.path, **options)
    except (ImportError, ValueError) as error:
        extra = EXTRAS.get(protocol.replace("https", "http"))
        raise DomainLMError(
            f"nothing is installed that opens {protocol}://",
            where="source.path",
            why=str(error),
            fix=f'pip install "{extra}"' if extra else "install what the line above names",
            exit_code=USAGE,
        ) from error
    return fs, root.rstrip("/")


def _split_glob(root: str) -> tuple[str, str]:
    """A path without its glob, and the glob relative to it (empty: there is none)."""
    parts = root.split("/")
    first = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _name_of(root: str) -> str:
    return unquote(urlsplit(root).path if "://" in root else root).rpartition("/")[2]


def _place(source: Source, root: str, path: str) -> str:
    """Where an object is: below the root, or the root itself where that is one object."""
    if source.kind != "hub":
        if not _is_http(source):
            root = _split_glob(root)[0]
        if path == _name_of(root):
            return root
    return f"{root}/{quote(path) if _is_http(source) else path}"


def _objects(source: Source, wanted: Callable[[str], bool]) -> list[Found]:
    """Objects below a URL: of a bucket or another file system, of a page of links, or one."""
    from domainlm.corpus.sources import glob, known

    fs, root = _store(source)
    fs.invalidate_cache()
    pattern = ""
    if _is_http(source):
        if known(_name_of(root)):
            info = patiently(source.path, lambda: fs.info(root))
            return [_found(source, _name_of(root), info)]
        infos = patiently(source.path, lambda: _find(fs, root + "/"))
        names = [n for n in infos if "?" not in n and wanted(unquote(n.removeprefix(root + "/")))]
        with ThreadPoolExecutor(16) as pool:  # a page of links says nothing of sizes
            asked = pool.map(lambda n: patiently(source.path, lambda: fs.info(n)), names)
            infos = dict(zip(names, asked, strict=True))
    else:
        root, pattern = _split_glob(root)
        info = patiently(source.path, lambda: fs.info(root)) if root else {"type": "directory"}
        if info["type"] == "file":
            return [_found(source, _name_of(root), info)]
        infos = patiently(source.path, lambda: _find(fs, root))
    if pattern:
        wanted = glob([pattern])
    found = {}
    for name, info in infos.items():
        path = name.removeprefix(f"{root}/") if root else name.lstrip("/")
        path = unquote(path) if _is_http(source) else path
        if info["type"] == "file" and not path.endswith("/") and wanted(path):
            found[path] = _found(source, path, info)
    return list(found.values())


def _find(fs: Any, root: str) -> dict[str, dict[str, Any]]:
    """All files below a path. fsspec's own search leaves out folders that it could not list."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    inherited = type(fs).find is AbstractFileSystem.find
    inherited &= getattr(type(fs), "_find", AsyncFileSystem._find) is AsyncFileSystem._find
    found: dict[str, dict[str, Any]] = fs.find(
        root, detail=True, **({"on_error": "raise"} if inherited else {})
    )
    return found


def _hub(source: Source, wanted: Callable[[str], bool]) -> list[Found]:
    """Files of a data set at the commit that its revision names now.

    Without `include`: the repository's tables, or its archives, or its texts, whichever comes
    first, so that nothing is read twice; where it has none, the Hub's own copy as Parquet.
    """
    found = _commit(source, source.revision, wanted)
    if not found:
        with contextlib.suppress(FileNotFoundError):
            found = _commit(source, CONVERTED, wanted)
    return found


def _commit(source: Source, revision: str, wanted: Callable[[str], bool]) -> list[Found]:
    from huggingface_hub import HfApi

    info = patiently(
        source.path, lambda: HfApi().dataset_info(source.path, revision=revision, timeout=10)
    )
    fs, root = _store(source, str(info.sha))
    infos = patiently(source.path, lambda: _find(fs, root))
    found = [
        _found(source, path, about, str(info.sha))
        for name, about in infos.items()
        if wanted(path := name.removeprefix(f"{root}/"))
    ]
    if source.include:
        return found
    families = ([f for f in found if _of(f.path, family)] for family in FAMILIES)
    return next((files for files in families if files), [])


def _of(path: str, family: tuple[str, ...]) -> bool:
    return re.sub(r"\.(gz|zst|bz2|xz)$", "", path.lower()).endswith(family)


def _found(source: Source, path: str, info: Mapping[str, Any], version: str = "") -> Found:
    if info.get("size") is None:
        raise DomainLMError(
            "the server does not say how large a file is",
            where=f"{source.path}: {path}",
            fix="fetch it and give the file or its folder: --corpus PATH",
        )
    facts = {k.lower(): str(v) for k, v in info.items() if v is not None}
    known = {k: facts[k] for k in VERSIONS if k in facts} or {
        k: facts[k] for k in TIMES if k in facts
    }
    return Found(path, int(info["size"]), sha256_json([known, info["size"]]), version)


def _check_standing(source: Source, fs: Any, root: str) -> None:
    """Raise where not one object is missing or barred but all of them: the run must stop."""
    try:
        fs.invalidate_cache()
        place = root if source.kind == "hub" or _is_http(source) else _split_glob(root)[0]
        patiently(source.path, lambda: fs.info(place))
    except (FileNotFoundError, PermissionError) as error:
        unreachable(source.path, error)


def _nothing(source: Source, error: Exception) -> DomainLMError:
    return DomainLMError(
        f"there is no corpus at {source.path}"
        + (f" (revision {source.revision})" if source.kind == "hub" else ""),
        where="source.path",
        why=words(error),
        fix="look at the name and the revision; a private data set wants HF_TOKEN"
        if source.kind == "hub"
        else "give a folder, a file, a glob or a URL: --corpus PATH",
        exit_code=USAGE,
    )
