"""Items of the labelled filings as other tools find them, for `score.py --predictions`.

    python3 -m venv /tmp/peers-venv
    /tmp/peers-venv/bin/pip install edgartools==5.62.1 trafilatura==2.3.1 lxml_html_clean==0.4.6
    /tmp/peers-venv/bin/python benchmarks/items/peers.py edgartools --root FILINGS --out FILE

    git clone https://github.com/nlpaueb/edgar-crawler DIR    # 25cdcd0, March 2025
    python3 -m venv /tmp/crawler-venv
    /tmp/crawler-venv/bin/pip install beautifulsoup4==4.15.0 cssutils==2.15.0 pandas==3.1.1 \\
        lxml==6.1.3 numpy==2.4.6 pathos==0.3.5 click==8.5.1 tqdm==4.70.1 requests==2.34.2
    /tmp/crawler-venv/bin/python benchmarks/items/peers.py edgar-crawler --checkout DIR \\
        --root FILINGS --out FILE

Neither is part of the package or its environment. Both get what helps them: the main document of
the labels alone, decoded (UTF-8, else cp1252), as form 10-K whatever its variant; tables kept; a
heading PART II (or the like) that ends an item is cut off, since no label has it.

- edgartools: two routes, and of a filing the items of the one that finds more (`chunks` if equal):
  `tenk`, which is `company_reports.TenK` and `get` of each item (sections by table of contents,
  heading or pattern; combined headings; cross-reference index), and `chunks`, the older
  `ChunkedDocument`, deprecated. `--route` takes one of them alone. Neither finds items in plain
  text, which is therefore handed over in paragraphs (<p>; lines, where none is blank); `--text
  wrapped` wraps it as edgartools' own `Filing.html` does.
- edgar-crawler: `ExtractItems.extract_items` over a file in RAW_FILINGS/10-K, `remove_tables`
  false, all items of its list.

One process a filing, one after the other. Exceptions, and over 60 s of CPU, are no items. Labels
set apart (`--labels`) as in `score.py`.
"""

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

LABELS = Path(__file__).with_name("labels.json")
LIMIT = 60  # seconds of CPU a filing
NUMBERS = [*map(str, range(1, 17)), "1A", "1B", "1C", "4A", "7A", "9A", "9B", "9C"]
Items = dict[str, str]
_PART = re.compile(r"\n\s*PART\s+(?:I{1,3}|IV)\W*\Z", re.I)
_SGML = re.compile(r"</?(?:PAGE|TABLE|S|C|CAPTION|FN)>", re.I)


def text_of(data: bytes) -> str:
    """What stands in <TEXT> of a document, decoded, without the <XBRL> and <XML> around it."""
    at = data.find(b"<TEXT>")
    content = data[at + 6 if at >= 0 else 0 :].rsplit(b"</TEXT>", 1)[0]
    content = re.sub(rb"</?(?:XBRL|XML)>", b"", content).strip()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def as_html(text: str, paragraphs: bool) -> str:
    """HTML as it is; plain text wrapped as by edgartools' `Filing.html`, or in paragraphs."""
    from edgar.core import is_probably_html

    if is_probably_html(text):
        return text
    if not paragraphs:
        return f"<html><body><div>{text.replace('<PAGE>', '')}</div></body></html>"
    text = _SGML.sub(" ", text).replace("<", "&lt;")
    blocks = re.split(r"\n\s*\n", text)
    if len(blocks) < 20:  # no blank lines: some files have lost them
        blocks = text.splitlines()
    return f"<html><head></head><body><p>{'</p><p>'.join(blocks)}</p></body></html>"


class Local:
    """The part of edgartools' Filing that `TenK` needs to find items."""

    form = "10-K"
    accession_no = accession_number = "local"
    base_dir = ""

    def __init__(self, html: str):
        self._html = html

    def html(self) -> str:
        return self._html


def tenk(html: str) -> Items:
    """Items by edgartools' report class."""
    from edgar.company_reports import TenK

    report = TenK(Local(html))
    labels = dict.fromkeys([*(f"Item {n}" for n in NUMBERS), *report.items])
    return {label: report.get(label) or "" for label in labels}


def chunks(html: str) -> Items:
    """Items by edgartools' older classes."""
    from edgar.files.htmltools import ChunkedDocument

    document = ChunkedDocument(html)
    items = {i.split()[-1].upper(): i for i in document.list_items()}
    return {f"Item {n}": document[items[n]] or "" for n in NUMBERS if n in items}


def edgartools(text: str, routes: list[Callable[[str], Items]], paragraphs: bool) -> Items:
    """The items of the route that finds most, the first of them if several do."""
    html = as_html(text, paragraphs)
    best: Items = {}
    for route in routes:
        with contextlib.suppress(Exception):
            best = max(best, {k: v for k, v in route(html).items() if v.strip()}, key=len)
    return best


def edgar_crawler(text: str) -> Items:
    """Items by edgar-crawler, whose modules are on the path."""
    from extract_items import ExtractItems

    names = ("CIK", "Company", "Date", "Period of Report", "SIC", "State of Inc", "State location")
    names += ("Fiscal Year End", "html_index", "htm_file_link", "complete_text_file_link")
    with tempfile.TemporaryDirectory() as folder:
        kind = "htm" if re.search(r"<(?:html|body|div|p|td)\b", text, re.I) else "txt"
        file = Path(folder, "10-K", f"filing.{kind}")
        file.parent.mkdir()
        file.write_text(f"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n{text}\n</TEXT>\n</DOCUMENT>\n")
        row = {**dict.fromkeys(names), "Type": "10-K", "filename": file.name}
        extractor = ExtractItems(False, [], False, folder, folder, False)
        extractor.determine_items_to_extract(row)
        found = extractor.extract_items(row) or {}
    items = {k: v for k, v in found.items() if k.startswith("item_")}
    return {f"Item {k[5:]}": content for k, content in items.items() if content.strip()}


def guarded(find: Callable[[str], Items], text: str) -> tuple[Items, str]:
    """Items, and why there are none; `find` runs in a process of its own with a limit on CPU."""
    here, there = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 1))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                items = {k: _PART.sub("", v) for k, v in find(text).items()}
                found: tuple[Items, str] = (items, "")
        except BaseException as error:
            found = ({}, f"{type(error).__name__}: {str(error)[:120]}")
        there.send(found)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        process.join()
        found = ({}, f"stopped (exit code {process.exitcode})")
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=["edgartools", "edgar-crawler"])
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/domainlm/filings")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--route", choices=["both", "tenk", "chunks"], default="both")
    parser.add_argument("--text", choices=["paragraphs", "wrapped"], default="paragraphs")
    parser.add_argument("--checkout", type=Path, help="of edgar-crawler")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    find: Callable[[str], Items]
    if given.tool == "edgartools":
        os.environ["EDGAR_IDENTITY"] = "Nobody nobody@example.com"  # and no request is made
        import edgar.company_reports
        import edgar.files.htmltools  # noqa: F401

        routes = {"both": [chunks, tenk], "tenk": [tenk], "chunks": [chunks]}[given.route]

        def find(text: str) -> Items:
            return edgartools(text, routes, given.text == "paragraphs")
    else:
        sys.path.insert(0, str(given.checkout))
        import extract_items  # noqa: F401

        find = edgar_crawler
    logging.disable(logging.CRITICAL)
    out: dict[str, Items] = {}
    failures = 0
    rows: list[dict[str, Any]] = json.loads(given.labels.read_text())
    for row in rows:
        start, end = row["document"]
        text = text_of((given.root / row["path"]).read_bytes()[start:end])
        begun = time.monotonic()
        out[row["path"]], why = guarded(find, text)
        failures += not out[row["path"]]
        if not out[row["path"]]:
            print(f"{row['path']}: {why or 'no items'}", file=sys.stderr)
        if (took := time.monotonic() - begun) > LIMIT / 2:
            print(f"{row['path']}: {took:.0f} s", file=sys.stderr)
    given.out.write_text(json.dumps(out))
    print(f"{len(out)} filings, {sum(map(len, out.values()))} items, {failures} without any")


if __name__ == "__main__":
    main()
