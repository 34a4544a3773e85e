"""A query's rows, fetched once into a table of the run directory, which is then read like a file.

The table is `corpus/table.parquet`, a row group a piece, with `corpus/table.json` that says what
each piece is. A piece whose rows are as before has the same hash, so that of a table that grew
only what is new is read.
"""

import contextlib
import datetime
import decimal
import hashlib
import json
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from domainlm.artifacts import atomic_write, read_json, write_json
from domainlm.console import say, status
from domainlm.corpus.extract import Unreadable, decode
from domainlm.corpus.sources import BATCH_BYTES, Entry
from domainlm.errors import USAGE, DomainLMError

TABLE = "corpus/table.parquet"
ACCOUNT = "corpus/table.json"
ROWS = 64  # rows the database sends at a time
_NAME = re.compile(r"\$\{(\w+)\}")
DRIVERS = {"postgresql": "psycopg[binary]", "mysql": "pymysql", "mssql": "pyodbc"}


def fetch(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    """Task: the rows of `query` at the SQLAlchemy URL `path`, in `TABLE` and `ACCOUNT`.

    All columns become text (dates ISO 8601, bytes decoded like files, JSON as JSON), NULL stays.
    Memory is bounded by a piece of `BATCH_BYTES`. Raises `DomainLMError` for a literal password,
    no driver, no connection, a wrong query, no rows, or no column `text` where that is given.
    """
    query = arguments["query"] or ""
    if not re.search(r"\border\s+by\b", query, re.I):
        say("  source.query has no ORDER BY: the order of its rows may differ from run to run")
    count = 0
    pieces: list[dict[str, Any]] = []
    columns: list[str] = []
    with (
        atomic_write(root / TABLE) as file,
        contextlib.closing(_rows(arguments["path"], query)) as rows,
    ):
        columns = next(rows)
        _check(columns, arguments.get("text"))
        schema = pa.schema([(name, pa.string()) for name in columns])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for piece in _cut(rows):
                table = pa.table(
                    [pa.array(c, pa.string()) for c in zip(*piece, strict=True)], schema
                )
                writer.write_table(table, row_group_size=len(piece))
                digest = hashlib.sha256(json.dumps(columns).encode())
                for batch in table.combine_chunks().to_batches():
                    digest.update(batch.serialize())
                pieces.append({"rows": len(piece), "sha256": digest.hexdigest()})
                count += len(piece)
                status(f"  {count:,} rows")
        if not count:
            raise DomainLMError(
                "the query gives no rows", where="source.query", fix="look at its conditions"
            )
    metadata = pq.read_metadata(root / TABLE)
    for number, piece_ in enumerate(pieces):
        group = metadata.row_group(number)
        piece_["bytes"] = sum(
            group.column(n).total_compressed_size for n in range(group.num_columns)
        )
    pieces[-1]["bytes"] += (root / TABLE).stat().st_size - sum(p["bytes"] for p in pieces)
    write_json(root / ACCOUNT, {"columns": columns, "rows": count, "pieces": pieces})
    return {TABLE: count}


def entries(root: Path) -> list[Entry]:
    """The pieces of the fetched table, to be read like any Parquet file below `root`."""
    return [
        Entry(TABLE, piece["bytes"], 0, piece["sha256"], start=number, stop=number + 1)
        for number, piece in enumerate(read_json(root / ACCOUNT)["pieces"])
    ]


def address(path: str) -> str:
    """The URL with `${NAME}` replaced from the environment; a literal password is an error."""
    bare = re.search(r"://[^:/@]*:(.+)@", path)
    options = re.findall(r"[?&]\w*(?:pass|pwd|secret|token)\w*=([^&]+)", path, re.I)
    if any(_NAME.sub("", secret) for secret in [*([bare[1]] if bare else []), *options]):
        raise DomainLMError(
            "source.path holds a password, and recipes are kept in run directories",
            where="source.path",
            fix="write ${DB_PASSWORD} in its place and give it in the environment: "
            "DB_PASSWORD=... domainlm run ...",
            exit_code=USAGE,
        )

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise DomainLMError(
                f"{found[1]} is not set in the environment",
                where=f"source.path: {path}",
                fix=f"{found[1]}=... domainlm run ...",
                exit_code=USAGE,
            )
        return os.environ[found[1]]

    user, at, host = path.rpartition("@")  # a password may hold what separates parts of a URL
    return _NAME.sub(lambda f: quote(value(f), safe=""), user) + at + _NAME.sub(value, host)


def _rows(path: str, query: str) -> Generator[list[Any], None, None]:
    """The names of the columns, then rows of texts."""
    try:
        import sqlalchemy
        from sqlalchemy import event, exc
    except ImportError as error:
        raise DomainLMError(
            "SQLAlchemy is not installed", fix='pip install "domainlm[sql]"', exit_code=USAGE
        ) from error
    filled = address(path)
    try:
        url = sqlalchemy.make_url(filled)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (ImportError, exc.ArgumentError) as error:
        dialect = re.split(r"\W", filled)[0]
        raise DomainLMError(
            "the database's address cannot be used",
            where=f"source.path: {path}",
            why=_words(error) if filled == path else type(error).__name__,
            fix=f'pip install "{DRIVERS[dialect]}"'
            if isinstance(error, ImportError) and dialect in DRIVERS
            else "see SQLAlchemy, Database URLs: postgresql+psycopg://USER:${NAME}@HOST/DATABASE",
            exit_code=USAGE,
        ) from error
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        if not Path(url.database or "").is_file():  # it would be made, empty
            raise DomainLMError(
                f"there is no corpus at {shown}",
                where="source.path",
                why="no such file",
                fix="sqlite:///relative/path or sqlite:////absolute/path",
                exit_code=USAGE,
            )
        event.listen(engine, "connect", lambda c, _: setattr(c, "text_factory", _text_of))
    try:
        connection = engine.connect()
    except exc.DBAPIError as error:
        raise _unreachable(shown, error) from error
    options = {"stream_results": True, "yield_per": ROWS, "no_parameters": True}
    try:
        with connection.execution_options(postgresql_readonly=True, **options):
            result = connection.exec_driver_sql(query)
            if not result.returns_rows:
                raise DomainLMError("the query gives no rows", where="source.query", why=query)
            yield list(result.keys())
            for row in result:
                yield [_text(value) for value in row]
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise _unreachable(shown, error) from error
        raise DomainLMError(
            "the query fails",
            where=f"source.query at {shown}",
            why=_words(error.orig or error),
            fix="correct it; a query that works in the database's own shell works here",
        ) from error


def _cut(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    """Runs of rows of about `BATCH_BYTES` of text."""
    piece: list[list[Any]] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += sum(len(value) for value in row if value)
        if size >= BATCH_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _check(columns: list[str], text: str | None) -> None:
    twice = {name for name in columns if columns.count(name) > 1}
    if twice or (text and text not in columns):
        raise DomainLMError(
            f"two columns of the query are named {min(twice)}"
            if twice
            else f"the query has no column {text!r}",
            where="source.query" if twice else "source.text",
            why=f"its columns are {', '.join(columns)}",
            fix="name each column once: SELECT a AS b" if twice else "--set source.text=COLUMN",
            exit_code=USAGE,
        )


def _text(value: Any) -> str | None:
    """A value of a database as text; None for NULL and for bytes that are no text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | memoryview):
        try:
            return decode(bytes(value))
        except Unreadable:
            return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


def _text_of(data: bytes) -> str | None:
    """Text of SQLite, which does not check that it is UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _text(data)


def _unreachable(shown: str, error: BaseException) -> DomainLMError:
    return DomainLMError(
        "the source cannot be reached",
        where=shown,
        why=_words(getattr(error, "orig", None) or error),
        fix="give the same command again: the query is asked anew",
    )


def _words(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
