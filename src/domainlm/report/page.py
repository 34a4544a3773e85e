"""The report page: evidence in, one offline HTML file out, which makes no request of any kind.

What corpora and models wrote is escaped wherever it stands. Behind that stands a policy in the
page itself: nothing may be loaded, and only the one script may run whose hash it names. Without
script all is there to read; it adds reading the heat map by keyboard.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from domainlm.artifacts import sha256_bytes
from domainlm.evaluation.evidence import Evidence, Reading, Sample
from domainlm.report import charts, failures, findings, heat, provenance, tables, view, words
from domainlm.report.numbers import chance


def render(
    evidence: Evidence,
    samples: Sequence[Sample],
    picture: bytes,
    readings: Sequence[Reading] = (),
) -> str:
    """The whole page; `evidence` and `samples` are already tidy."""
    environment = Environment(
        loader=PackageLoader("domainlm", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["nb"] = lambda text: re.sub(r"(?<=\d) (?=%)", "\u00a0", text)
    script = environment.get_template("page.js.j2").render().strip()
    prompts = view.prompts(evidence, samples)
    pages, unread = heat.pages(evidence, prompts, readings)
    is_, is_not = findings.purpose(evidence)
    return environment.get_template("page.html.j2").render(
        e=evidence,
        script=Markup(script),
        policy=policy(script),
        verdict=words.verdict(evidence),
        headline=words.headline(evidence),
        picture=base64.b64encode(picture).decode(),
        has_stock=view.has_stock(evidence),
        nouns=view.nouns(evidence),
        arms=view.arms(evidence),
        is_=is_,
        is_not=is_not,
        prompts=prompts,
        answers=blind,
        marked=marked,
        badges=badges,
        pages=pages,
        unread=unread,
        legend=heat.legend(),
        chance=chance,
        invented=view.invented(evidence),
        hollow=words.hollow,
        short=partial(view.short_label, evidence),
        role=partial(charts.colour, evidence),
        charts=charts,
        tables=tables,
        findings=findings,
        failures=failures.worst(evidence, samples, readings),
        data=provenance.data(evidence),
        samples=samples,
    )


def policy(script: str) -> str:
    """The page's Content-Security-Policy: pictures in the page, its styles, this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def blind(prompt: view.Prompt, seed: int) -> list[tuple[str, int, Sample | None]]:
    """(letter, place among the named ones, answer); None is what the document really says.

    In an order that depends on prompt, round and model by a hash alone, so that in blind mode the
    place gives nothing away.
    """
    turn = prompt.seeds.index(seed)
    answers: list[Sample | None] = list(prompt.of_seed(seed))
    answers += [None] if prompt.true_text else []

    def place(number: int) -> str:
        answer = answers[number]
        name = answer.model if answer else ""
        return sha256_bytes(f"blind|{prompt.prompt_id}|{turn}|{name}".encode())

    order = sorted(range(len(answers)), key=place)
    return [(chr(ord("A") + n % 26), number, answers[number]) for n, number in enumerate(order)]


def badges(answer: Sample) -> list[str]:
    """What a reader must know of a continuation: that it copies, or repeats itself."""
    said = []
    if answer.copied_words >= findings.COPIED:
        source = f" from {view.one_line(answer.copied_from)}" if answer.copied_from else ""
        said.append(f"{answer.copied_words:,} words copied{source}")
    if answer.repetition >= findings.REPEATED:
        said.append(f"{answer.repetition:.0%} repeated".replace("%", " %"))
    return said


def marked(answer: Sample) -> tuple[str, str, str]:
    """The text before, in and after the span that is copied; without one all of it is before."""
    text = answer.text.strip() or "(nothing)"
    copied = answer.copied_text.strip() if answer.copied_words >= findings.COPIED else ""
    before, found, after = text.partition(copied) if copied else (text, "", "")
    return before, found, after
