"""Speed from documents (Parquet) to token shards on disk, beside datatrove, in one run.

    .venv/bin/python benchmarks/speed_tokens.py --texts FILINGS/mda-2018-2023 \\
        --peers-python PEERS/bin/python [--megabytes 100] [--repeats 3] [--json FILE]

The texts become document files of 24 MB, as the corpus stage writes them, and a byte-level BPE of
16,384 entries is learned on them. Both tools then make uint16 shards of the same files with the
same `tokenizer.json` in two worker processes: ours by the engine's pool of tasks, datatrove by
its LocalPipelineExecutor with ParquetReader and DocumentTokenizer (not shuffling, which is faster).
Times are wall clock from the call of the executor to the last file on disk, start of the worker
processes included; the best of the repeats. The shards must be the same bytes, or there is no
result. MB are 10^6 bytes of UTF-8 text. Run it on a machine with nothing else to do.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

WORKERS = 2
FILE_BYTES = 24_000_000
VOCABULARY = 16_384


def prepare(root: Path, texts: Path, megabytes: float) -> tuple[int, int]:
    """Document files and a tokenizer under `root`; returns (files, bytes of text)."""
    from domainlm.corpus import documents
    from domainlm.corpus.documents import Document
    from domainlm.tokens import tokenizer

    number, total, batch, size = 0, 0, [], 0
    for path in sorted(texts.rglob("*.txt")):
        text = path.read_text()
        name = path.relative_to(texts).as_posix()
        if batch and (size + len(text) > FILE_BYTES or total >= megabytes * 1e6):
            documents.write(root / "corpus" / f"documents-{number:05d}.parquet", batch)
            number, batch, size = number + 1, [], 0
        if total >= megabytes * 1e6:
            break
        batch.append(Document(name, path.parent.name, None, name, name, "", text, (), "train"))
        size += len(text)
        total += len(text.encode())
    if batch:
        documents.write(root / "corpus" / f"documents-{number:05d}.parquet", batch)
        number += 1
    tokenizer.train(root, {"vocabulary": VOCABULARY, "sample_bytes": 50_000_000})
    return number, total


def ours(root: Path, files: int) -> list[float]:
    """Seconds of all files in a pool that is begun for them, and again in the pool that is there.

    In a run the pool is there: the corpus stage began it.
    """
    from domainlm.artifacts import Task
    from domainlm.corpus import documents
    from domainlm.engine import processes, run_tasks
    from domainlm.tokens import encode

    tasks = []
    for number in range(files):
        document = f"corpus/documents-{number:05d}.parquet"
        arguments = {"folder": "tokens", "documents": document, "number": number}
        names = [f"{s}-{number:05d}{e}" for s in documents.TRAINED for e in (".bin", ".ends")]
        outputs = [f"tokens/{name}" for name in (*names, f"encoded-{number:05d}.json")]
        tasks.append(Task(f"encode-{number}", encode.encode, arguments, (document,), outputs))
    seconds = []
    begun = time.perf_counter()
    with processes(root, WORKERS, None) as submit:
        for _ in range(2):
            for _ in run_tasks(root, tasks, submit):
                pass
            seconds.append(time.perf_counter() - begun)
            begun = time.perf_counter()
    return seconds


def parts(root: Path, files: int) -> dict[str, float]:
    """Seconds of each part of the work, in one process, all files, after one to warm up."""
    import numpy as np

    from domainlm.artifacts import sha256_file
    from domainlm.corpus import documents
    from domainlm.tokens import encode
    from domainlm.tokens.tokenizer import texts

    names = [f"corpus/documents-{n:05d}.parquet" for n in range(files)]

    def whole(number: int) -> None:
        task = {"folder": "tokens", "documents": names[number], "number": number}
        encode.encode(root, task)

    whole(0)
    encoder = encode._encoder(
        root / "tokens/tokenizer.json", sha256_file(root / "tokens/tokenizer.json")
    )
    spent = dict.fromkeys(("read", "encode", "check_ids", "check_bytes"), 0.0)

    def timed(part: str, work: Any, *arguments: Any) -> Any:
        begun = time.perf_counter()
        found = work(*arguments)
        spent[part] += time.perf_counter() - begun
        return found

    for document in names:
        batches = timed(
            "read", lambda path: list(texts([path], documents.TRAINED)), root / document
        )
        timed("check_ids", encoder.agrees, batches[0][1], encode.SAMPLE)
        for _, batch in batches:
            ids = timed("encode", encoder.encode, batch, True)
            flat, after = np.concatenate(ids), np.cumsum([len(i) for i in ids])
            timed("check_bytes", encode._same_bytes, encoder, batch, flat, after, document)
    begun = time.perf_counter()
    for number in range(files):
        whole(number)
    total = time.perf_counter() - begun
    spent |= {"write, hash and the rest": total - sum(spent.values()), "all": total}
    return {part: round(seconds, 3) for part, seconds in spent.items()}


def datatrove(task: dict[str, Any]) -> None:
    """In the environment of the peers: the same files to shards; writes the seconds."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    root, out = Path(task["root"]), Path(task["out"])
    executor = LocalPipelineExecutor(
        pipeline=[
            ParquetReader(str(root / "corpus"), text_key="text", id_key="id"),
            DocumentTokenizer(
                str(out / "shards"),
                tokenizer_name_or_path=str(root / "tokens" / "tokenizer.json"),
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ],
        tasks=task["files"],
        workers=WORKERS,
        logging_dir=str(out / "logs"),
    )
    begun = time.perf_counter()
    executor.run()
    (out / "seconds").write_text(str(time.perf_counter() - begun))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cache = Path.home() / ".cache" / "domainlm" / "filings"
    parser.add_argument("--texts", type=Path, default=cache / "mda-2018-2023" / "mda")
    parser.add_argument("--peers-python")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        return datatrove(json.loads(given.task))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        files, size = prepare(root, given.texts, given.megabytes)
        megabytes = size / 1e6
        print(f"{megabytes:.1f} MB of text in {files} files, {WORKERS} processes")
        tries = [ours(root, files) for _ in range(given.repeats)]
        first, again = (min(seconds) for seconds in zip(*tries, strict=True))
        report: dict[str, Any] = {"mb": round(megabytes, 3), "files": files, "workers": WORKERS}
        report["domainlm"] = {
            "mb_per_s": round(megabytes / first, 2),
            "mb_per_s_in_a_pool_that_is_there": round(megabytes / again, 2),
            "seconds": [[round(s, 3) for s in seconds] for seconds in tries],
        }
        print(f"domainlm {megabytes / first:8.1f} MB/s, {megabytes / again:.1f} with workers there")
        if given.peers_python:
            out = Path(folder) / "peer"
            out.mkdir()
            task = {"root": str(root), "out": str(out), "files": files}
            command = [given.peers_python, __file__, "--task", json.dumps(task)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            for number in range(files):
                shard = (root / "tokens" / f"train-{number:05d}.bin").read_bytes()
                if shard != (out / "shards" / f"{number:05d}_unshuffled.ds").read_bytes():
                    raise SystemExit(f"the shards of file {number} differ: nothing is compared")
            theirs = float((out / "seconds").read_text())
            ratio = theirs / first
            report["datatrove"] = {"mb_per_s": round(megabytes / theirs, 2), "seconds": [theirs]}
            report["times_datatrove"] = round(ratio, 1)
            print(f"datatrove {megabytes / theirs:7.1f} MB/s, same bytes: {ratio:.1f} x slower")
        report["seconds_of_one_process"] = parts(root, files)
        print("one process:", report["seconds_of_one_process"])
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
