import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm.corpus.documents import Section
from domainlm.corpus.edgar.items import find_items

BODY = "The company makes pumps and valves. It sells them to mills and refiners. " * 20


def report(*headings: str, contents: bool = True) -> str:
    """A report with a table of contents and a body, each heading followed by `BODY`."""
    toc = "\n".join(f"{h} | {i + 3}" for i, h in enumerate(headings)) if contents else ""
    return f"FORM 10-K\n\n{toc}\n\n" + "\n\n".join(f"{h}\n\n{BODY}" for h in headings)


def found(text: str) -> dict[str, str]:
    return {s.label: text[s.start : s.end] for s in find_items(text) if s.end > s.start}


MODERN = (
    "Item 1. Business", "Item 1A. Risk Factors", "Item 1B. Unresolved Staff Comments",
    "Item 1C. Cybersecurity", "Item 2. Properties", "Item 3. Legal Proceedings",
    "Item 4. Mine Safety Disclosures", "Item 5. Market for Registrant’s Common Equity",
    "Item 6. [Reserved]", "Item 7. Management’s Discussion and Analysis",
    "Item 7A. Quantitative and Qualitative Disclosures", "Item 8. Financial Statements",
    "Item 9. Changes in and Disagreements with Accountants", "Item 9A. Controls and Procedures",
    "Item 9B. Other Information", "Item 9C. Disclosure Regarding Foreign Jurisdictions",
    "Item 10. Directors", "Item 11. Executive Compensation", "Item 12. Security Ownership",
    "Item 13. Certain Relationships", "Item 14. Principal Accountant Fees",
    "Item 15. Exhibits", "Item 16. Form 10-K Summary",
)  # fmt: skip


def test_every_item_of_the_form_in_the_body_not_in_the_contents() -> None:
    text = report(*MODERN)
    sections = found(text)
    assert list(sections) == [h.split(".")[0] for h in MODERN]
    for heading in MODERN:
        assert sections[heading.split(".")[0]] == f"{heading}\n\n{BODY}".strip()


@pytest.mark.parametrize(
    ("heading", "label"),
    [
        ("Item    7.   Management's  Discussion  and Analysis", "Item 7"),
        ("ITEM\n7. MANAGEMENT'S DISCUSSION\nAND ANALYSIS", "Item 7"),
        ("Item 7: Management's Discussion", "Item 7"),
        ("Item 7 - Management's Discussion", "Item 7"),
        ("ITEM 7 \u2014 MANAGEMENT'S DISCUSSION", "Item 7"),
        ("Item No. 7 Management's Discussion", "Item 7"),
        ("ITEM VII. MANAGEMENT'S DISCUSSION", "Item 7"),
        ("I T E M 7. MANAGEMENT'S DISCUSSION", "Item 7"),
        ("ITEM 7. | MANAGEMENT'S DISCUSSION", "Item 7"),
        ("PART II, Item 7. Management's Discussion", "Item 7"),
        ("item 7.\n\nManagement's discussion", "Item 7"),
        ("Item 7Management's Discussion", "Item 7"),
        ("ITEM 7.MANAGEMENT'S DISCUSSION", "Item 7"),
        ("Item 7A.Quantitative and Qualitative", "Item 7A"),
        ("Item 7A Quantitative and Qualitative", "Item 7A"),
        ("Item 7(a). Quantitative and Qualitative", "Item 7A"),
        ("Item 7AQuantitative and Qualitative", "Item 7A"),
        ("ITEM 7 A. QUANTITATIVE AND QUALITATIVE", "Item 7A"),
        ("Items 7 and 7A. Management's Discussion", "Items 7 and 7A"),
    ],
)
def test_ways_to_write_a_heading(heading: str, label: str) -> None:
    others = ["Item 1. Business", "Item 2. Properties", heading, "Item 8. Financial Statements"]
    text = report(*others)
    sections = found(text)
    assert list(sections) == ["Item 1", "Item 2", label, "Item 8"]
    assert sections[label].startswith(heading.removeprefix("PART II, "))


@pytest.mark.parametrize(
    ("heading", "label"),
    [
        ("Items 1 and 2. Business and Properties", "Items 1 and 2"),
        ("ITEMS 1. AND 2. BUSINESS AND PROPERTIES", "Items 1 and 2"),
        ("Item 1 and Item 2. Business and Properties", "Items 1 and 2"),
        ("Items 1 & 2. Business and Properties", "Items 1 and 2"),
        ("Item l. Business", "Item 1"),
        ("Item 1. General Development of Business", "Item 1"),
    ],
)
def test_first_items(heading: str, label: str) -> None:
    text = report(heading, "Item 3. Legal Proceedings", "Item 9A(T). Controls and Procedures")
    assert list(found(text)) == [label, "Item 3", "Item 9A"]


@pytest.mark.parametrize(
    "mention",
    [
        "Item 7 of this Annual Report on Form 10-K describes it.",
        "Item  3  of  this Annual Report on Form 10-K is so.",
        "Item 405 of Regulation S-K does not apply.",
        "Item 1112(b) of Regulation AB does.",
        "Item 8, and elsewhere in the report.",
        "Item 14(a)(1): The statements listed are filed.",
        "Item 7. Management's Discussion (continued)",
        "Items that are not part of the plan.",
        "See Item 3. Legal Proceedings.",
        "the items 1 and 2 in the list",
    ],
)
def test_mentions_are_no_headings(mention: str) -> None:
    headings = ["Item 1. Business", "Item 2. Properties", "Item 10. Directors"]
    text = f"{report(*headings[:2])}\n\n{mention}\n\n{BODY}\n\n{headings[2]}\n\n{BODY}"
    sections = found(text)
    assert list(sections) == ["Item 1", "Item 2", "Item 10"]
    assert mention in sections["Item 2"]


def test_part_lines_belong_to_no_item_and_signatures_end_the_last() -> None:
    text = report("Item 1. Business", "Item 4. Mine Safety", contents=False)
    text += f"\n\nPART IV\n\nItem 15. Exhibits\n\n{BODY}\n\nSIGNATURES\n\nPursuant to the "
    text += f"requirements of Section 13, signed.\n\n{BODY}"
    sections = found(text)
    assert sections["Item 4"].endswith("refiners.")
    assert sections["Item 15"] == f"Item 15. Exhibits\n\n{BODY}".strip()


def test_reports_that_number_without_the_word_item() -> None:
    text = report("1. BUSINESS", "2. PROPERTIES", "3. LEGAL PROCEEDINGS", "5. MARKET FOR STOCK")
    assert list(found(text)) == ["Item 1", "Item 2", "Item 3", "Item 5"]


def test_flags() -> None:
    text = report("Item 1. Business", "Item 2. Properties", contents=False)
    text += "\n\nItem 7. Management's Discussion\n\nThe pages 20 to 30 of the annual report are "
    text += f"incorporated herein by reference.\n\nItem 8. Financial Statements\n\n{BODY * 40}"
    flags = {s.label: s.flags for s in find_items(text, form="10-K/A")}
    assert flags == {
        "Item 1": (),
        "Item 2": (),
        "Item 7": ("incorporated_by_reference",),
        "Item 8": ("suspicious_size",),
    }


@pytest.mark.parametrize("text", ["", "Item", "No headings here.", "Item 5", BODY * 10])
def test_text_without_items(text: str) -> None:
    assert find_items(text, form="10-K/A") == ()
    assert {s.flags for s in find_items(text)} == {("not_found",)}


@pytest.mark.slow
def test_time_is_linear() -> None:
    for text in ("Item 7. " * 100_000, "Item 1.\n" * 60_000, "\n" * 10**6 + "Item", " " * 10**6):
        start = time.process_time()
        find_items(text)
        assert time.process_time() - start < 3


def check(sections: tuple[Section, ...], text: str) -> None:
    place = 0
    for section in sections:
        empty = section.flags == ("not_found",)
        assert place <= section.start < section.end + empty <= len(text) + empty
        place = section.end
    assert len({s.label for s in sections}) == len(sections)


@given(
    st.lists(
        st.sampled_from([*MODERN, "PART II", "SIGNATURES", "ITEM 7", "Items 1 and 2", BODY, "\n"])
        | st.text("Item 1A.\n(7)İ", max_size=12),
        max_size=40,
    )
)
def test_sections_are_in_order_and_inside(lines: list[str]) -> None:
    text = "\n".join(lines)
    check(find_items(text), text)
