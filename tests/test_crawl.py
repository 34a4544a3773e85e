"""The crawler against a loopback EDGAR: nothing lost, nothing twice, never too fast."""

import collections
import dataclasses
import email.utils
import fnmatch
import hashlib
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domainlm import pipeline, recipes
from domainlm.artifacts import read_json
from domainlm.corpus import documents, sources
from domainlm.corpus.edgar import client, crawl
from domainlm.corpus.edgar.cache import Cache
from domainlm.corpus.edgar.client import Gateway, Unavailable
from domainlm.corpus.edgar.limiter import Limiter
from domainlm.corpus.estimate import FIGURES, Estimate
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Source
from edgar_server import FAULTS, Made, Server, invent, publish, seeded
from small import domainlm

YEARS = list(range(1999, 2004))
pytestmark = pytest.mark.slow  # each test has a server of its own
QUICK = {"cooldown": 0.3, "backoff": 0.02}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgar"


@pytest.fixture
def made() -> list[Made]:
    return invent()


@pytest.fixture
def server(tmp_path: Path, made: list[Made]) -> Iterator[Server]:
    publish(tmp_path / "www", made)
    with Server(tmp_path / "www") as server:
        yield server


def source(server: Server, **keys: object) -> Source:
    return Source.model_validate(
        {"kind": "edgar", "path": server.base, "years": YEARS, "forms": ["10-K*"], **keys}
    )


def paths(server: Server) -> list[str]:
    return [str(entry["path"]) for entry in server.log]


def most_in_a_second(arrivals: list[float]) -> int:
    times, first, most = sorted(arrivals), 0, 0
    for last, time_ in enumerate(times):
        while times[first] <= time_ - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


# Who asks, and how fast


@pytest.mark.parametrize(
    "contact",
    [
        None,
        "",
        "Jane Doe",
        "Jane Doe jane@",
        "Jane Doe name@example.com",
        "you@your.org",
        "Your Name name@yourcompany.com",
        "me@localhost.localhost",
        "Jane\r\nX-Other: 1 jane@bank.de",
    ],
)
def test_the_sec_is_not_asked_without_a_real_contact(contact: str | None) -> None:
    with pytest.raises(DomainLMError, match="contact") as error:
        crawl.crawl(Source(kind="edgar", contact=contact))
    assert error.value.exit_code == USAGE
    assert "--set source.contact=" in error.value.fix


def test_a_real_contact_is_the_user_agent() -> None:
    assert client.user_agent("Jane Doe jane.doe@bank.co.uk", "www.sec.gov").startswith("Jane Doe j")
    assert client.user_agent(None, "mirror.bank.de").startswith("domainlm/")
    assert client.user_agent("A a@b.de", "mirror.bank.de") == "A a@b.de"


def test_the_rate_for_the_sec_is_at_most_ten() -> None:
    for host in ("www.sec.gov", "data.sec.gov", "sec.gov"):
        with pytest.raises(DomainLMError, match="more than the SEC allows") as error:
            client.pace(10.5, host)
        assert error.value.exit_code == USAGE
        assert client.pace(None, host) == 8
        assert client.pace(3, host) == 3
    assert client.pace(500, "mirror.bank.de") == 500
    assert client.pace(None, "notsec.gov") is None


def test_the_command_line_says_how_to_give_a_contact(tmp_path: Path) -> None:
    said = domainlm("run", "sec-10k", "--set", "evaluate.stock=[]", cwd=tmp_path, code=2).stderr
    assert "--set source.contact='Your Name you@your.org'" in said
    words = ("plan", "sec-10k-gpt2", "--offline", "--json", "--set", "evaluate.stock=[]")
    told = json.loads(domainlm(*words, cwd=tmp_path).stdout)["crawl"]
    assert told["filings"] == 33_000
    assert 1 < told["hours"] < 10


@pytest.mark.parametrize("rate", [7.5, 90.0])
def test_no_second_sees_more_than_the_rate(rate: float) -> None:
    """Wherever between its start and its answer the server sees a request."""
    limiter = Limiter(rate)
    arrivals: list[float] = []
    lock = threading.Lock()

    def ask(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(int(rate * 2.5 / 8) + 1):
            with limiter.turn():
                before, after = rng.random() * 0.15, rng.random() * 0.15
                time.sleep(before)
                with lock:
                    arrivals.append(time.monotonic())
                time.sleep(after)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(arrivals) == 8 * (int(rate * 2.5 / 8) + 1)
    assert most_in_a_second(arrivals) <= rate


# What is selected


def expected(made: list[Made], **keys: list[object]) -> list[str]:
    forms = keys.get("forms", ["10-K*"])
    return sorted(
        m.accession
        for m in made
        if any(fnmatch.fnmatchcase(m.form, str(f)) for f in forms)
        and m.filed.year in keys.get("years", YEARS)
        and (not keys.get("ciks") or m.cik in keys["ciks"])
        and (not keys.get("tickers") or m.ticker in keys["tickers"])
        and (not keys.get("sic") or any(m.sic.startswith(str(s)) for s in keys["sic"]))
    )


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"forms": ["10-K", "10-K405"]},
        {"forms": ["10-K*/A"]},
        {"forms": ["10-KSB*"]},
        {"forms": ["10-KT"]},
        {"years": [2000, 2003]},
        {"ciks": [1001, 1022], "years": [1999, 2002]},
        {"tickers": ["T002", "T005"]},
        {"sic": [28]},
        {"sic": [2836, 602]},
        {"exhibits": True, "years": [2001]},
    ],
    ids=str,
)
def test_selection_by_each_key(server: Server, made: list[Made], keys: dict[str, list[object]]):
    rows = crawl.crawl(source(server, **keys), **QUICK)
    wanted = {k: v for k, v in keys.items() if k != "exhibits"}
    assert sorted(r.accession for r in rows) == expected(made, **wanted)
    assert {r.status for r in rows} == {"ok"}
    top = crawl.archive(source(server))
    by_accession = {m.accession: m for m in made}
    for row in rows:
        filing = by_accession[row.accession]
        whole = "exhibits" in keys or not filing.document
        assert (top / row.path).read_bytes() == (filing.submission() if whole else filing.body())
        assert row.path.endswith(filing.path if whole else filing.document)
        assert (row.form, row.filed, row.company) == (filing.form, filing.filed, filing.name)


@pytest.mark.parametrize(
    "keys", [{"sic": [99]}, {"forms": ["8-K"]}, {"ciks": [1001], "years": [2020]}]
)
def test_nothing_selected_is_said(server: Server, keys: dict[str, list[object]]) -> None:
    with pytest.raises(DomainLMError, match="no filing is what the recipe asks for"):
        crawl.crawl(source(server, **keys), **QUICK)


def test_tickers_and_ciks_add_up(server: Server, made: list[Made]) -> None:
    rows = crawl.crawl(source(server, tickers=["t002"], ciks=[1001]), **QUICK)
    assert {r.cik for r in rows} == {"1001", str(1001 + 14)}


def test_few_companies_need_no_index(server: Server) -> None:
    crawl.crawl(source(server, ciks=[1001]), **QUICK)
    assert not any("index" in path for path in paths(server))


def test_an_unknown_ticker_has_a_near_match(server: Server) -> None:
    with pytest.raises(DomainLMError, match="TX02") as error:
        crawl.crawl(source(server, tickers=["TX02"]), **QUICK)
    assert "T002" in error.value.why
    assert error.value.exit_code == USAGE


@pytest.mark.parametrize(
    "limits", [{"limit": 9}, {"limit_bytes": 40_000}, {"limit": 9, "sic": [28]}]
)
def test_limits_take_the_same_whatever_the_order_of_arrival(
    server: Server, limits: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed in range(2):
        monkeypatch.setenv("DOMAINLM_CACHE", str(tmp_path / f"cache-{seed}"))
        server.fault = seeded(0.3, seed, ("slow", "503", "reset"))
        found.append(crawl.crawl(source(server, exhibits=True, **limits), **QUICK))
    assert found[0] == found[1]
    assert len(found[0]) == limits.get("limit", len(found[0]))
    everything = crawl.crawl(source(server, exhibits=True), **QUICK)
    size = sum(r.bytes for r in found[0])
    if cap := limits.get("limit_bytes"):
        assert cap - max(r.bytes for r in everything) < size <= cap


def test_a_mirror_without_lists_gives_full_submissions(tmp_path: Path, made: list[Made]) -> None:
    publish(tmp_path / "bare", made, documents=False, lists=False)
    with Server(tmp_path / "bare") as server:
        rows = crawl.crawl(source(server, ciks=[1001, 1008]), **QUICK)
        assert all(r.path.endswith(".txt") for r in rows)
        assert len(rows) == 10
        asked = collections.Counter(p for p in paths(server) if "submissions" in p)
        assert set(asked.values()) == {1}  # by whichever thread is first


def test_one_filing_of_two_companies_is_fetched_once(server: Server, made: list[Made]) -> None:
    twin = dataclasses.replace(made[3], cik=5000, accession=made[3].accession)
    publish(server.top, [*made, twin])
    rows = crawl.crawl(source(server, exhibits=True), **QUICK)
    assert len(rows) == len(made)


def test_rows_that_lead_out_of_the_archive_are_refused(server: Server, made: list[Made]) -> None:
    index = next(server.top.rglob("master.gz"))
    import gzip

    text = gzip.decompress(index.read_bytes()).decode()
    bad = ["../../../etc/passwd", "/etc/passwd", "edgar/data/1/../../x.txt", "edgar/data/1/a b.txt"]
    text += "".join(f"1|EVIL|10-K|2000-01-01|{name}\n" for name in bad)
    index.write_bytes(gzip.compress(text.encode()))
    rows = crawl.crawl(source(server), **QUICK)
    assert len(rows) == len(made)
    assert not any("passwd" in p or ".." in p for p in paths(server))
    with pytest.raises(DomainLMError, match="leads out"):
        Cache(server.base).place(f"{server.base}/Archives/%2e%2e/%2e%2e/x")


# What is kept


def test_nothing_is_asked_twice_and_what_can_change_by_its_validators(server: Server) -> None:
    asked = source(server, tickers=["T001"])
    first = crawl.crawl(asked, **QUICK)
    before = len(server.log)
    assert crawl.crawl(asked, **QUICK) == first
    again = server.log[before:]
    assert [e["status"] for e in again] == [304] * len(again)
    assert not any("/data/" in str(e["path"]) for e in again)
    table = server.top / "files" / "company_tickers.json"
    table.write_text(table.read_text().replace("T001", "NEW1"))
    before = len(server.log)
    crawl.crawl(source(server, tickers=["NEW1"]), **QUICK)
    changed = [e for e in server.log[before:] if e["path"] == "/files/company_tickers.json"]
    assert [e["status"] for e in changed] == [200]


def test_a_past_quarters_index_is_final_and_the_current_ones_is_not(
    server: Server, made: list[Made]
) -> None:
    import datetime

    today = datetime.datetime.now(datetime.UTC).date()
    now = dataclasses.replace(made[0], filed=today, accession="0000001001-99-000001", form="10-K")
    publish(server.top, [*made, now])
    for _ in range(2):
        rows = crawl.crawl(source(server, years=[2000, today.year]), **QUICK)
        assert now.accession in {r.accession for r in rows}
    quarter = f"{today.year}/QTR{(today.month + 2) // 3}"
    counts = collections.Counter(
        str(e["path"]).split("full-index/")[1] for e in server.log if "full-index" in str(e["path"])
    )
    assert counts[f"{quarter}/master.gz"] == 2
    assert [counts[f"2000/QTR{q}/master.gz"] for q in (1, 2, 3, 4)] == [1, 1, 1, 1]


def test_offline_is_the_cache_alone(server: Server) -> None:
    asked = source(server, ciks=[1001], years=[2002])
    with pytest.raises(DomainLMError, match="cannot be had") as error:
        crawl.crawl(asked, offline=True)
    assert "--offline" in error.value.fix
    online = crawl.crawl(asked, **QUICK)
    before = len(server.log)
    assert crawl.crawl(asked, offline=True) == online
    with pytest.raises(DomainLMError, match="be had"):
        crawl.crawl(source(server), offline=True)
    assert len(server.log) == before


def test_the_cache_is_a_tree_that_the_local_reader_reads(server: Server, cache: Path) -> None:
    rows = crawl.crawl(source(server, exhibits=True), **QUICK)
    local = Source(kind="edgar", path=str(crawl.archive(source(server)).parent), forms=["10-K*"])
    entries = sources.listing(local, [])
    assert {e.sha256 for e in entries} == {r.sha256 for r in rows}
    assert [e.path for e in entries] == [f"Archives/{r.path}" for r in rows]
    for entry in entries[:5]:
        data = (sources.root_of(local) / entry.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert [p.name for p in (cache / "working").rglob("*") if p.is_file()] == [".lock"]


# What goes wrong


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_once_costs_a_try_and_no_byte(
    server: Server, made: list[Made], kind: str
) -> None:
    server.fault = lambda path, nth: kind if nth == 1 else None
    server.retry_after = ["0"]
    rows = crawl.crawl(source(server, exhibits=True, limit=6), **QUICK)
    right = {m.accession: hashlib.sha256(m.submission()).hexdigest() for m in made}
    assert {r.accession: r.sha256 for r in rows} == {r.accession: right[r.accession] for r in rows}
    assert {r.status for r in rows} == {"ok"}


def longest_silence(server: Server) -> float:
    arrivals = sorted(float(str(entry["arrived"])) for entry in server.log)
    return max(after - before for before, after in itertools.pairwise(arrivals))


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured_by_all_threads(server: Server, date: bool) -> None:
    def once(path: str, nth: int) -> str | None:
        when = email.utils.formatdate(time.time() + 5, usegmt=True)  # in whole seconds
        server.retry_after = [when if date else "4"]
        return "429" if len(server.asked) == 12 and nth == 1 else None

    server.fault = once
    rows = crawl.crawl(source(server, exhibits=True), **QUICK)
    assert len(rows) == 60
    assert longest_silence(server) > 3.4


@pytest.mark.parametrize("kind", ["403", "page"])
def test_a_cool_down_stops_every_thread(server: Server, kind: str) -> None:
    server.fault = lambda path, nth: kind if len(server.asked) == 12 and nth == 1 else None
    rows = crawl.crawl(source(server, exhibits=True), cooldown=4.0, backoff=0.02)
    assert len(rows) == 60
    assert longest_silence(server) > 3.4


def test_redirections_stay_on_the_host(server: Server, tmp_path: Path, made: list[Made]) -> None:
    publish(tmp_path / "elsewhere", made)
    with Server(tmp_path / "elsewhere") as other, Gateway(server.base) as gateway:
        gateway.cache.working.mkdir(parents=True)
        path = f"/Archives/{made[0].path}"
        server.fault = lambda asked, nth: f"to:{other.base}{path}" if asked == path else None
        with pytest.raises(Unavailable, match="redirected"):
            gateway.fetch(server.base + path)
        assert not other.log
        server.fault = lambda asked, nth: f"to:{path}" if asked == "/old.txt" else None
        assert gateway.fetch(f"{server.base}/old.txt").bytes == len(made[0].submission())
        server.fault = lambda asked, nth: f"to:{path}"
        with pytest.raises(Unavailable, match="too many"):
            gateway.fetch(f"{server.base}/loop.txt")


def test_a_missing_and_a_truncated_filing_are_accounted_for(
    server: Server, made: list[Made], tmp_path: Path
) -> None:
    missing, cut = [m for m in made if not m.document][:2]
    (server.top / "Archives" / missing.path).unlink()
    file = server.top / "Archives" / cut.path
    file.write_bytes(file.read_bytes()[:400])
    run = started(tmp_path, source(server))
    pipeline.execute(run, "corpus")
    ledger = read_json(run.root / "corpus" / "ledger.json")
    assert ledger["skipped"]["missing: 404"] == {"files": 1, "bytes": 0}
    assert ledger["skipped"]["truncated"] == {"files": 1, "bytes": 400}
    assert ledger["input"]["files"] == len(made)
    asked = collections.Counter(paths(server))
    assert asked[f"/Archives/{cut.path}"] == client.SHORT_TRIES
    assert asked[f"/Archives/{missing.path}"] == 1


def test_a_damaged_index_is_never_kept(server: Server, cache: Path) -> None:
    index = next(server.top.rglob("master.gz"))
    whole = index.read_bytes()
    index.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DomainLMError, match="the index") as error:
        crawl.crawl(source(server), cooldown=0, backoff=0.001)
    assert "truncated" in error.value.why
    index.write_bytes(whole)
    assert len(crawl.crawl(source(server), **QUICK)) == 60


def test_a_server_that_fails_stops_the_crawl_with_what_to_do(server: Server) -> None:
    server.fault = lambda path, nth: "503" if "/data/" in path else None
    with pytest.raises(DomainLMError, match="in a row") as error:
        crawl.crawl(source(server), cooldown=0, backoff=0.001)
    assert "goes on" in error.value.fix
    server.fault = lambda path, nth: "503"
    with pytest.raises(DomainLMError, match=r"the index .* cannot be had"):
        crawl.crawl(source(server, years=[1998]), cooldown=0, backoff=0.001)


CRAWL = """
import sys
from pathlib import Path
from domainlm.corpus.edgar import crawl
from domainlm.recipe import Source
rows = crawl.crawl(
    Source(kind="edgar", path=sys.argv[1], years=list(range(1996, 2006)), forms=["10-K*"],
           exhibits=True, rate=float(sys.argv[3])),
    cooldown=0.1, backoff=0.05,
)
crawl.write(Path(sys.argv[2]), rows)
"""


def crawling(base: str, out: Path, rate: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CRAWL, base, str(out), str(rate)], stderr=subprocess.PIPE, text=True
    )


def test_two_processes_on_one_cache_ask_once(server: Server, made: list[Made], tmp_path: Path):
    two = [crawling(server.base, tmp_path / f"{n}.parquet", 200) for n in range(2)]
    assert [p.communicate()[1].count("Traceback") for p in two] == [0, 0]
    assert [p.returncode for p in two] == [0, 0]
    assert crawl.read(tmp_path / "0.parquet") == crawl.read(tmp_path / "1.parquet")
    counts = collections.Counter(p for p in paths(server) if "/data/" in p)
    assert set(counts.values()) == {1}
    assert len(counts) == len(made)


def test_two_thousand_filings_through_faults_and_five_kills(tmp_path: Path) -> None:
    """Every byte arrives, none twice, never more than the rate in any second, nothing lost."""
    made = invent(companies=200, years=range(1996, 2006))
    top, log, rate = tmp_path / "www", tmp_path / "log", 100.0
    publish(top, made)
    files = ["--port-file", str(tmp_path / "port"), "--log", str(log)]
    command = [sys.executable, str(Path(__file__).with_name("edgar_server.py")), str(top), *files]
    with subprocess.Popen([*command, "--faults", "0.1"]) as server:
        try:
            wait_for((tmp_path / "port").exists)
            base = (tmp_path / "port").read_text()
            archive = crawl.archive(Source(kind="edgar", path=base))
            kills: list[tuple[float, set[str]]] = []  # when, and what had been kept by then
            for number in range(1, 6):
                process = crawling(base, tmp_path / "rows.parquet", rate)
                wait_for(lambda n=number: log.exists() and len(entries(log)) > 400 * n)
                process.kill()
                process.wait()
                kept = {f"/Archives/{m.path}" for m in made if (archive / m.path).is_file()}
                kills.append((time.monotonic(), kept))
            process = crawling(base, tmp_path / "rows.parquet", rate)
            said = process.communicate()[1]
            assert process.returncode == 0, said
        finally:
            server.terminate()
    rows = crawl.read(tmp_path / "rows.parquet")
    right = {m.path: hashlib.sha256(m.submission()).hexdigest() for m in made}
    assert len(right) == 2000
    assert {r.path: r.sha256 for r in rows} == right
    assert all(hashlib.sha256((archive / p).read_bytes()).hexdigest() == right[p] for p in right)
    requests = entries(log)
    assert {e["fault"] for e in requests} == {None, *FAULTS}
    assert most_in_a_second([e["arrived"] for e in requests]) <= rate
    for killed, kept in kills:
        assert kept and not kept & {e["path"] for e in requests if e["arrived"] > killed}
    # What the server had handed to the system when the client died may never have been read.
    delivered = collections.Counter(
        e["path"] for e in requests if e["done"] and "/data/" in e["path"]
    )
    assert len(delivered) == 2000
    assert sum(delivered.values()) - 2000 <= len(kills) * crawl.THREADS
    assert not [f for f in archive.parents[2].rglob("working/*/*") if f.name != ".lock"]


def wait_for(ready: Callable[[], bool]) -> None:
    for _ in range(3000):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def entries(log: Path) -> list[dict[str, object]]:
    return [
        json.loads(line) for line in log.read_text().splitlines(keepends=True) if line[-1] == "\n"
    ]


# The pipeline


def started(tmp_path: Path, asked: Source, *more: str, offline: bool = False) -> pipeline.Run:
    values = asked.model_dump(exclude_defaults=True)
    values |= {k: v for k in ("contact", "rate") if (v := getattr(asked, k))}
    given = [f"source.{k}={json.dumps(v)}" for k, v in values.items()]
    loaded = recipes.load("folder", [*given, "evaluate.stock=[]", *more])
    return pipeline.start(loaded, tmp_path / "runs", "t", offline, "domainlm run")


def test_a_run_over_a_mirror_gives_the_documents_of_the_folder(
    server: Server, tmp_path: Path
) -> None:
    asked = source(server, contact="Jane Doe jane@bank.de", rate=500)
    keys = [
        "kind=edgar",
        f"years={YEARS}",
        'forms=["10-K*"]',
        f"contact={asked.contact}",
        "rate=500",
    ]
    given = [word for key in keys for word in ("--set", f"source.{key}")]
    words = ["folder", "--until", "corpus", "--set", "evaluate.stock=[]", "--name", "t"]
    domainlm("run", *words, *given, "--corpus", server.base, cwd=tmp_path)
    local = source(server, path=str(server.top / "Archives"))
    pipeline.execute(started(tmp_path / "local", local), "corpus")

    def texts(run: Path) -> set[tuple[str, str, str]]:
        found = documents.read(documents.paths(run))
        return {(d.group, str(d.date), hashlib.sha256(d.text.encode()).hexdigest()) for d in found}

    run = tmp_path / "runs" / "t"
    assert texts(run) == texts(tmp_path / "local" / "runs" / "t")
    assert len(texts(run)) == 60
    assert {e["agent"] for e in server.log} == {asked.contact}
    for file in run.rglob("*.*"):
        assert b"jane@bank.de" not in file.read_bytes(), file
    before = len(server.log)
    for other in (source(server, contact="Joe joe@bank.de", rate=400), source(server)):
        planned = pipeline.plan(started(tmp_path, other, offline=True))
        assert planned[0].state == "cached"
        pipeline.execute(started(tmp_path, other, offline=True), "corpus")
    assert len(server.log) == before


def test_plan_asks_no_server_and_a_cleared_cache_is_said(
    server: Server, tmp_path: Path, cache: Path
) -> None:
    run = started(tmp_path, source(server, limit=20))
    planned = pipeline.plan(run)
    assert planned[0].reasons == ["corpus/crawl: not done yet"]
    assert not server.log
    pipeline.execute(run, "corpus")
    blobs = [f for f in (cache / "blobs").rglob("*") if f.is_file()]
    for blob in blobs:
        blob.unlink()
    pipeline.execute(started(tmp_path, source(server, limit=20)), "corpus")  # all was read
    with pytest.raises(DomainLMError, match="no longer in the cache"):
        pipeline.execute(
            started(tmp_path, source(server, limit=20), "source.tables=drop"), "corpus"
        )


def test_plan_tells_what_a_crawl_costs(server: Server, tmp_path: Path, made: list[Made]) -> None:
    def told(asked: Source) -> Estimate | None:
        run = started(tmp_path, asked)
        return pipeline.crawl_estimate(run, pipeline.plan(run))

    unknown = told(source(server))
    assert unknown and unknown.filings is None and "once the index is read" in str(unknown)
    limited = told(source(server, limit=10, years=[1999, 2020], rate=2))
    assert limited and limited.filings == 10
    assert limited.requests == 10 + 5 + 8  # five filings are of the years with lists
    assert limited.download_bytes == 5 * FIGURES[0].submission + 5 * FIGURES[3].document
    assert limited.hours == pytest.approx(23 * 1.2 / 2 / 3600)
    assert not server.log
    crawl.crawl(source(server, limit=3), **QUICK)
    exact = told(source(server))
    assert exact and exact.filings == len(made) and "index in the cache" in exact.counted
    pipeline.execute(started(tmp_path, source(server)), "corpus")
    assert told(source(server)) is None


# Folders


@pytest.mark.parametrize("place", ["", "edgar", "Archives/edgar"])
def test_a_folder_may_hold_the_archive_from_anywhere(
    tmp_path: Path, made: list[Made], place: str
) -> None:
    archive = publish(tmp_path / "www", made)
    top = archive.parent if place.startswith("Archives") else archive
    if not place:
        (archive / "edgar" / "full-index").rename(archive / "full-index")
    found = sources.listing(Source(kind="edgar", path=str(top), forms=["10-K*"]), [])
    assert sorted(e.accession for e in found) == expected(made)
    assert all(e.sha256 for e in found)


def test_a_manifest_may_have_tickers(tmp_path: Path, made: list[Made]) -> None:
    lines = ["path,form,cik,ticker,filed"]
    for filing in made:
        (tmp_path / f"{filing.accession}.txt").write_bytes(filing.submission())
        cells = (f"{filing.accession}.txt", filing.form, filing.cik, filing.ticker, filing.filed)
        lines.append(",".join(map(str, cells)))
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    local = Source(kind="edgar", path=str(tmp_path), forms=["10-K*"], tickers=["T004", "t007"])
    assert sorted(e.path[:-4] for e in sources.listing(local, [])) == expected(
        made, tickers=["T004", "T007"]
    )
    capped = sources.listing(local.model_copy(update={"limit_bytes": 9000}), [])
    assert 0 < sum(e.bytes for e in capped) <= 9000
    with pytest.raises(DomainLMError, match="T0044"):
        sources.listing(local.model_copy(update={"tickers": ["T0044"]}), [])


def test_an_industry_is_two_to_four_digits() -> None:
    with pytest.raises(DomainLMError, match="2 to 4 digits"):
        recipes.load("demo", ["source.sic=[28345]"])
