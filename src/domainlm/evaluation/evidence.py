"""The typed evidence: `evaluation/evidence.json`. The report reads nothing else.

Units: nats are natural-log losses; bits per byte = nats / (ln 2 x UTF-8 bytes of the same
normalised text for every model). A gap is (a - b): negative means a is better. Every interval is
the 95 % percentile bootstrap over groups (10,000 draws, fixed seed); of losses and gaps null where
all is of one group, which says nothing about others.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domainlm.artifacts import read_json

SCHEMA_VERSION = 4  # 2: slices; 3: corpus; 4: slice_gaps to crossings; older is read without
Role = Literal["stock", "scratch", "continued", "other", "baseline"]  # other: `evaluate --on`
Interval = tuple[float, float]


class Row(BaseModel):
    """Base of every row: an unknown field is an error, so that reader and writer agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Row):
    """Who was measured. The stock model is always named `stock`, arms by their recipe name."""

    role: Role
    title: str  # for people, e.g. "SmolLM2-135M-Instruct (instruction-tuned, 4-bit weights)"
    source: str  # Hub id, package, or run-relative path
    sha256: str | None = None  # of the weights; null for a compressor
    parameters: int | None = None
    vocabulary: int | None = None
    window: int | None = None  # tokens of context at the headline
    stride: int | None = None  # tokens between windows
    notes: list[str] = []  # what a reader must know: quantised, instruction-tuned, ...
    pretraining_flops: float | None = None  # before it came here; null: not published, or none


class Loss(Row):
    """Bits per byte of one model on one split of held-out text."""

    model: str
    split: str
    bits_per_byte: float
    ci95: Interval | None
    documents: int
    groups: int
    bytes: int
    tokens: int | None = None
    nats: float


class Slice(Row):
    """Bits per byte of one model on the part of a split where `by` is `value`.

    `section` is the label of the section that most of a span lies in, `novelty` the decile of the
    13-grams that train does not have (9: newest), `kind` what a byte belongs to: word, number,
    punctuation or space. A slice of fewer than five documents is left out.
    """

    model: str
    split: str
    by: Literal["section", "year", "novelty", "kind"]
    value: str
    bits_per_byte: float
    ci95: Interval | None
    documents: int
    groups: int
    bytes: int


class SliceGap(Row):
    """Paired difference a - b on a slice; `p_holm` is adjusted for all slices of a pair and split.

    Holm 1979. Which slices there are was decided without looking at the gaps.
    """

    a: str
    b: str
    split: str
    by: Literal["section", "year", "novelty", "kind"]
    value: str
    bits_per_byte: float
    ci95: Interval | None
    documents: int
    groups: int
    p_value: float
    p_holm: float


class WindowLoss(Row):
    """Bits per byte again with another window, on the first documents of a split alone.

    Where `context_bytes` is given, every model's window holds about that many bytes, whatever its
    tokenizer.
    """

    model: str
    split: str
    window: int
    stride: int
    context_bytes: int | None
    bits_per_byte: float
    ci95: Interval | None
    documents: int
    groups: int
    bytes: int


class Spread(Row):
    """Arms that differ by their seed alone: how much training by itself varies."""

    models: list[str]
    split: str
    mean: float  # bits per byte
    sd: float  # sample standard deviation


class General(Row):
    """Bits per byte on text of no domain: what a model trained on forgets."""

    model: str
    source: str  # what the text is
    bits_per_byte: float
    documents: int
    bytes: int


class Gap(Row):
    """Paired difference a - b on the same bytes; `wins` counts groups where a is better."""

    a: str
    b: str
    split: str
    bits_per_byte: float
    ci95: Interval | None
    wins: int
    documents: int = 0
    groups: int
    p_value: float  # sign-flip permutation over groups, two-sided


class Probe(Row):
    """A classifier of section labels over frozen features (or words), groups disjoint."""

    task: str
    features: str  # "TF-IDF", "majority", "keywords", "random weights", "MiniLM", or a model's name
    layer: int | None = None  # chosen on train alone: 0 is the embeddings
    pooling: Literal["mean", "last"] | None = None  # over a passage's tokens; chosen likewise
    labels: list[str]
    labels_per_class: int
    train_passages: int
    test_passages: int
    accuracy: float
    macro_f1: float
    majority: float  # accuracy of always answering the commonest label
    ci95: Interval  # of the accuracy, bootstrap over groups


class Choice(Row):
    """Questions with one right answer among four or more, answered without any training."""

    task: Literal["next passage", "section of a passage", "next heading"]
    scorer: str  # a model's name, "BM25", "TF-IDF", "next item", ...
    questions: int
    groups: int
    chance: float  # accuracy of guessing
    accuracy: float
    ci95: Interval  # bootstrap over groups


class Retrieval(Row):
    """Passages of the same topic by other groups, found by a passage; names are masked."""

    scorer: str  # "BM25", "TF-IDF", or a model's name
    queries: int
    candidates: int
    groups: int
    ndcg10: float
    mrr: float
    ci95: Interval  # of ndcg10, bootstrap over the queries' groups


class Memorization(Row):
    """Greedy continuations of 50 tokens of text that equal its next 50 (Carlini 2022).

    `copies` is how often the 100 tokens stand in train ("0": held-out text, the control, for
    boilerplate completes without having been memorised).
    """

    model: str
    copies: Literal["0", "1", "2-9", "10+"]
    windows: int
    groups: int
    exact: int
    rate: float
    ci95: Interval


class Extraction(Row):
    """The share of train that is extracted, minus the same of held-out text."""

    model: str
    difference: float
    ci95: Interval


class Personal(Row):
    """Personal data in a model's generations, and how much of it stands in train."""

    model: str
    kind: str
    generations: int
    found: int
    in_train: int


class Gate(Row):
    """What the recipe asked of a gap, and whether it is so."""

    gap: str  # "scratch-stock"
    split: str
    max: float
    bits_per_byte: float | None  # null: was not measured, which does not meet it
    met: bool


class Quality(Row):
    """Held-out bits per byte of an arm at a step of its training, and what it had cost till then.

    On the first documents of a split, as `WindowLoss`; the last point is the exported model.
    """

    model: str
    split: str
    step: int
    tokens: int
    flops: float
    seconds: float
    kwh: float | None
    money: float | None
    bits_per_byte: float
    ci95: Interval | None
    documents: int
    groups: int
    bytes: int


class Crossing(Row):
    """Where a model's cost/quality line passes the stock model's bits per byte."""

    model: str
    split: str
    by: Literal["flops", "seconds", "kwh", "money"]
    level: float  # the stock model's bits per byte on the same documents
    at: float | None  # null: not up to the budget; the first point is "at most" so much
    budget: float


class Cost(Row):
    """What an arm's training took on the machine named in the environment."""

    model: str
    tokens: int
    epochs: float
    flops: float  # 6 x parameters x tokens + attention: training FLOPs (Kaplan 2020, PaLM)
    seconds: float
    kwh: float | None = None
    kwh_method: str = "not measured"
    money: float | None = None
    currency: str = ""


class CurvePoint(Row):
    """A point of an arm's training: validation is null between its measurements."""

    model: str
    step: int
    tokens: int
    seconds: float
    loss: float  # nats a token of the training batch
    validation_bits_per_byte: float | None = None


class Sample(Row):
    """One continuation, as in `samples.jsonl`."""

    prompt_id: str
    prompt: str
    source: str  # where the opening comes from: a title, or "classic"
    model: str
    seed: int
    text: str  # the continuation alone
    true_text: str | None = None  # what the document really says next
    model_sha256: str | None = None
    repetition: float = 0.0  # share of its word 4-grams that stand in it before
    distinct_2: float = 0.0  # different word pairs / word pairs
    copied_words: int = 0  # of the longest span that stands in train word by word
    copied_text: str = ""
    copied_from: str = ""  # the title of a document that has it


class Samples(Row):
    """Where the generations are, and the hash of the prompts frozen before training."""

    path: str
    prompts_sha256: str
    tokens: int
    temperature: float
    seeds: list[int] = []


class Reading(Row):
    """How surprising a real text is to a model, token by token, as in `surprisal.jsonl`.

    `ends` are the characters of the text that the tokens end before, `nats` their losses, and
    `alternatives` the most probable tokens in their place, with probabilities.
    """

    model: str
    prompt_id: str
    text: str
    ends: list[int]
    nats: list[float]
    alternatives: list[list[tuple[str, float]]]


class Overlap(Row):
    """What share of a document's distinct 13-grams stands in train, over a split's documents."""

    documents: int
    groups: int
    median: float
    p90: float
    max: float
    over: int  # documents above the limit


class Audit(Row):
    """The leakage audit. `random` is a split of the same documents by chance, for comparison."""

    n: int  # words of an n-gram
    sampled: int  # one in so many n-grams was compared
    limit: float  # the recipe's, for `unseen`
    splits: dict[str, Overlap]


class Privacy(Row):
    """Personal data and secrets found in the text that was read."""

    mode: str  # off, report, mask or drop
    found: dict[str, int] = {}  # by kind
    examples: dict[str, list[str]] = {}  # masked


class Corpus(Row):
    """The ledger's figures that the report shows."""

    source: str
    files: int
    bytes: int
    skipped: dict[str, dict[str, int]]  # reason -> {files, bytes}
    documents: int
    text_bytes: int
    duplicates: int
    duplicate_bytes: int
    groups: int
    dated: int
    cut: str | None  # ISO date from which documents are held out; null: split by group alone
    splits: dict[str, dict[str, int]]  # split -> {documents, groups, bytes}
    tokenizer: dict[str, Any]  # vocabulary, bytes_per_token, train_tokens
    lines: dict[str, dict[str, int]] = {}  # rule -> {lines, bytes} taken out of documents
    dropped: dict[str, dict[str, int]] = {}  # reason -> {documents, bytes} left out whole
    near_duplicates: dict[str, int] = {}  # {documents, groups, bytes} left out of train
    paragraphs: dict[str, int] = {}  # {paragraphs, bytes} that train had before
    links: dict[str, int] = {}  # of near-duplicates: links, joined_groups, common_documents ...
    privacy: Privacy | None = None
    promises: list[str] = []  # what the split can and cannot promise
    audit: Audit | None = None
    merkle_root: str = ""  # of the hashes of all files of corpus, tokens and training


class Evidence(Row):
    """Everything the report may say."""

    schema_version: int = SCHEMA_VERSION
    name: str
    notices: list[str] = []  # shown first: invented corpus, no stock model, too few groups ...
    held_out_sha256: str  # of the scored spans: what makes two runs comparable
    models: dict[str, Model]
    loss: list[Loss]
    gaps: list[Gap]
    slices: list[Slice] = []
    slice_gaps: list[SliceGap] = []
    windows: list[WindowLoss] = []
    spreads: list[Spread] = []
    general: list[General] = []
    choices: list[Choice] = []
    retrieval: list[Retrieval] = []
    memorization: list[Memorization] = []
    extraction: list[Extraction] = []
    personal: list[Personal] = []
    gates: list[Gate] = []
    quality: list[Quality] = []
    crossings: list[Crossing] = []
    notes: dict[str, str] = {}  # part -> why it is missing, or what to know of it
    probe: list[Probe] = []
    probe_note: str = ""  # why there is no probe, where there is none
    cost: list[Cost] = []
    curves: list[CurvePoint] = []
    samples: Samples
    corpus: Corpus
    recipe: str  # the resolved recipe, TOML
    environment: dict[str, str] = {}  # machine and versions
    command: str  # how to do it again


def load(root: Path) -> Evidence:
    """Read a run's evidence."""
    return Evidence.model_validate(read_json(root / "evaluation" / "evidence.json"))
