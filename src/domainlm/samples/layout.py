"""Two ways to lay out a report: inline-XBRL HTML, and the plain text of the 1990s."""

import html
import re
import textwrap
from collections.abc import Iterator, Sequence

from domainlm.samples.company import Block, Company, Filing

_PAGE = 3200  # characters
_MILLIONS = re.compile(r"\$([\d,.]+) million")


def _shown(company: Company, text: str) -> str:
    """Return an item heading as this company prints it: some in capitals."""
    return text.upper() if company.plain_text or company.index % 3 == 2 else text


def items(filing: Filing) -> Iterator[tuple[str, list[str]]]:
    """Yield each item's label and its paragraphs as printed: the truth about a filing's text."""
    for label, blocks in filing.items:
        yield (
            label,
            [
                _shown(filing.company, b.text) if b.kind == "heading" else b.text
                for b in blocks
                if b.kind != "table"
            ],
        )


def _pages(blocks: Sequence[Block], front: int) -> list[int]:
    """Give each block the number of its page; pages break between blocks only."""
    pages, page, used = [], front, 0
    for block in blocks:
        size = len(block.text) + 60 * len(block.rows)
        if used and used + size > _PAGE:
            page, used = page + 1, 0
        used += size + 80
        pages.append(page)
    return pages


def document(filing: Filing) -> str:
    """Lay out the main document: cover page, contents, items and signatures."""
    company = filing.company
    body = [
        Block(b.kind, _shown(company, b.text), b.rows) if b.kind == "heading" else b
        for _, blocks in filing.items
        for b in blocks
    ]
    day = f"{filing.period:%B} {filing.period.day}, {filing.period.year}"
    body += [
        Block("centered", "SIGNATURES"),
        Block(
            "paragraph",
            "Pursuant to the requirements of the Securities Exchange Act of 1934, "
            f"{company.name} has caused this report to be signed on its behalf on "
            f"{filing.filed:%B} {filing.filed.day}, {filing.filed.year}.",
        ),
        Block("paragraph", "By: /s/ The Principal Executive Officer"),
    ]
    pages = _pages(body, 3)
    contents = Block(
        "contents",
        rows=tuple(
            (b.text, str(p)) for b, p in zip(body, pages, strict=True) if b.kind == "heading"
        ),
    )
    cover = [
        "UNITED STATES SECURITIES AND EXCHANGE COMMISSION",
        f"FORM {company.form}",
        f"Annual report for the fiscal year ended {day}",
        f"Commission file number 001-{company.cik % 100_000:05}",
        company.name,
        f"{company.town}, {company.state[0]}",
        f"Telephone (555) 555-01{company.index % 100:02}",
    ]
    blocks = [*(Block("centered", line) for line in cover), Block("centered", "TABLE OF CONTENTS")]
    blocks += [contents, *body]
    numbers = [1] * len(cover) + [2, 2] + pages
    render = _plain if company.plain_text else _inline_xbrl
    return render(filing, blocks, numbers)


def _plain(filing: Filing, blocks: Sequence[Block], pages: Sequence[int]) -> str:
    lines, page = [], 1
    for block, number in zip(blocks, pages, strict=True):
        if number != page:
            lines += ["", f"-{page}-".center(80).rstrip(), "<PAGE>", ""]
            page = number
        if block.kind in ("heading", "centered"):
            wrapped = textwrap.wrap(block.text, 64, break_on_hyphens=False)
            lines += [line.center(80).rstrip() for line in wrapped]
        elif block.kind == "paragraph" or (block.kind == "subheading" and block.text.endswith(".")):
            indent = "     " if block.kind == "paragraph" else ""
            lines += textwrap.wrap(block.text, 79, initial_indent=indent, break_on_hyphens=False)
        elif block.kind == "subheading":
            lines.append(block.text)
        elif block.kind == "contents":
            for text, at in block.rows:
                *above, foot = textwrap.wrap(text, 66, break_on_hyphens=False)
                lines += [*above, f"{foot} ".ljust(72, ".") + f" {at:>4}"]
        else:
            lines += ["<TABLE>", "<CAPTION>", f"{'':44}{'Years ended':>26}"]
            head, *rows = block.rows
            lines += [f"{head[0]:44}" + "".join(f"{cell:>16}" for cell in head[1:])]
            lines += [f"{'<S>':44}" + "".join(f"{'<C>':>16}" for _ in head[1:])]
            for i, (label, *cells) in enumerate(rows):
                rule = i and label.startswith(("Total", "Net income", "Gross"))
                lines += [" " * 44 + "      ----------" * len(cells)] if rule else []
                lines += [f"{label:44}" + "".join(f"{cell:>16}" for cell in cells)]
            lines.append("</TABLE>")
        lines.append("")
    return "\n".join(lines)


def _inline_xbrl(filing: Filing, blocks: Sequence[Block], pages: Sequence[int]) -> str:
    company, year = filing.company, filing.period.year
    out, page, facts, tagging = [_hidden(filing)], 1, 0, False

    def number(name: str, text: str, scale: int) -> str:
        nonlocal facts
        facts += 1
        return (
            f'<ix:nonFraction unitRef="usd" contextRef="c-{1 + facts % 4}" decimals="-{scale}" '
            f'name="us-gaap:{name}" format="ixt:num-dot-decimal" scale="{scale}" id="f-{facts}">'
            f"{text}</ix:nonFraction>"
        )

    for block, at in zip(blocks, pages, strict=True):
        if at != page:
            out.append(
                f'<div style="text-align:center"><span style="font-size:8pt">{page}</span></div>\n'
                '<div style="page-break-after:always"></div>\n<hr style="page-break-after:always"/>'
                '<div><a href="#toc"><span style="font-size:8pt">Table of Contents</span></a></div>'
            )
            page = at
        text = html.escape(block.text, quote=False)
        if block.kind == "heading":
            tagging = text.lower().startswith("item 8")
            out.append(_heading(company, text))
        elif block.kind == "centered":
            out.append(f'<div style="text-align:center"><b>{text}</b></div>')
        elif block.kind == "subheading":
            out.append(f'<div><span style="font-weight:700;font-style:italic">{text}</span></div>')
        elif block.kind == "paragraph":
            if tagging:
                text = _MILLIONS.sub(lambda m: f"${number('Amount', m[1], 6)} million", text)
                text = f'<ix:nonNumeric contextRef="c-1" name="us-gaap:Note">{text}</ix:nonNumeric>'
            out.append(
                '<div style="margin-top:9pt;text-align:justify">'
                f'<span style="font-size:10pt">{text}</span></div>'
            )
        elif block.kind == "contents":
            rows = "".join(
                f'<tr><td><a href="#{_anchor(t)}">{html.escape(t, quote=False)}</a></td>'
                f"<td>{p}</td></tr>\n"
                for t, p in block.rows
            )
            out.append(f'<div id="toc"></div><table style="width:100%">\n{rows}</table>')
        else:
            rows = ""
            for i, (label, *cells) in enumerate(block.rows):
                name = re.sub(r"[^A-Za-z]", "", label.title())
                rows += f"<tr><td>{html.escape(label, quote=False)}</td>"
                for cell in cells:
                    inner = cell.strip("()")
                    tagged = number(name, inner, 3) if i else inner
                    sign = "$" if i == 1 else "&#160;"
                    tagged = f"({tagged})" if cell.startswith("(") else tagged
                    rows += (
                        f'<td>{sign if i else ""}</td><td style="text-align:right">{tagged}</td>'
                    )
                rows += "</tr>\n"
            out.append(f'<table style="border-collapse:collapse">\n{rows}</table>')
    body = "\n".join(out)
    return (
        "<XBRL>\n<?xml version='1.0' encoding='ASCII'?>\n"
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:ix="http://www.xbrl.org/2013/inlineXBRL">'
        f"<head><title>sample-{year}</title></head>\n<body>\n{body}\n</body></html>\n</XBRL>"
    )


def _anchor(text: str) -> str:
    return re.sub(r"\W+", "_", text.split(". ")[0].lower())


def _heading(company: Company, text: str) -> str:
    label, _, title = text.partition(". ")
    spaced = label.replace(" ", "&#160;")
    if company.index % 3 == 1:
        return (
            f'<div id="{_anchor(text)}"></div><table><tr><td style="width:60pt"><b>'
            f"{spaced}.</b></td><td><b>{title}</b></td></tr></table>"
        )
    return (
        f'<div id="{_anchor(text)}"><span style="font-weight:700">{spaced}.</span>'
        f'<span style="font-weight:700">&#160;&#160;{title}</span></div>'
    )


def _hidden(filing: Filing) -> str:
    """Write the block of facts that a browser does not show, and an extractor must not read."""
    company, year = filing.company, filing.period.year
    facts = {
        "dei:EntityCentralIndexKey": f"{company.cik:010}",
        "dei:DocumentFiscalYearFocus": str(year),
        "dei:DocumentFiscalPeriodFocus": "FY",
        "dei:AmendmentFlag": "false",
    }
    for n in range(12):
        facts[f"us-gaap:Member{n}"] = f"http://fasb.org/us-gaap/{year}#HiddenFactMember{n}"
    cells = "".join(
        f'<ix:nonNumeric contextRef="c-1" name="{name}" id="h-{n}">{value}</ix:nonNumeric>'
        for n, (name, value) in enumerate(facts.items())
    )
    contexts = "".join(
        f'<xbrli:context id="c-{n}"><xbrli:entity>'
        '<xbrli:identifier scheme="http://www.sec.gov/CIK">'
        f"{company.cik:010}</xbrli:identifier></xbrli:entity><xbrli:period><xbrli:instant>"
        f"{filing.period.replace(year=year - n + 1)}</xbrli:instant></xbrli:period></xbrli:context>"
        for n in range(1, 5)
    )
    return (
        f'<div style="display:none"><ix:header><ix:hidden>{cells}</ix:hidden>'
        f"<ix:resources>{contexts}</ix:resources></ix:header></div>"
    )
