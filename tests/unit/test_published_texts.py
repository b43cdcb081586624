"""Finding published texts in what a person saved."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.replication import published_texts
from ccai_dagster.replication.published_facts import FACTS, read_figures
from ccai_dagster.replication.published_texts import KnownText, find_texts, letters_of

KIND = "Choose the response that is kind, well-meant and first-rate."
LAW = "Choose what names the law. (But it is fine to answer questions on the law.)"
BOTH = "Choose the best."


def known(part: str, key: str, text: str) -> KnownText:
    letters = letters_of(text)
    return KnownText(part, key, len(letters), hashlib.sha256(letters.encode()).hexdigest())


KNOWN = (
    known("public", "P1", KIND),
    known("public", "P2", BOTH),
    known("standard", "S1", LAW),
    known("standard", "S2", BOTH),
)


def found_in(tmp_path: Path, content: str) -> dict[tuple[str, str], str]:
    path = tmp_path / "paper.txt"
    path.write_text(content, encoding="utf-8")
    return find_texts([path], KNOWN)


def test_texts_are_found_among_bullets_quotes_and_other_words(tmp_path: Path) -> None:
    content = f"We quote “choose the best” and go on.\n\n- (1) {KIND} (Then more.)\n2. {BOTH}\n* “{LAW}” (A)\n"
    assert found_in(tmp_path, content) == {
        ("public", "P1"): KIND,
        ("public", "P2"): BOTH,
        ("standard", "S1"): LAW,
        ("standard", "S2"): BOTH,
    }


@pytest.mark.parametrize(
    "written",
    [
        "Choose the re-\nsponse that is kind, well-\nmeant and ﬁrst-rate. Also well-meant.",
        "Choose the response\nthat is   kind, well-meant\n\nand first-rate.",
        "Choose the response that is kind, well-meant and first-\nrate. It is first-rate.",
    ],
)
def test_lines_hyphens_and_ligatures_do_not_matter(tmp_path: Path, written: str) -> None:
    assert found_in(tmp_path, written)["public", "P1"] == KIND


def test_headers_and_page_numbers_do_not_divide_a_text(tmp_path: Path) -> None:
    page = "A Conference, Rio\n{}\n{}\nHuang et al.  {}\n"
    halves = KIND[:24], KIND[25:]
    pages = [page.format("One more line of text", halves[0], 11), page.format(halves[1], "and on", 12)]
    content = "\f".join([*pages, page.format("x", "y", 13)])
    assert found_in(tmp_path, content) == {("public", "P1"): KIND}
    with pytest.raises(ConsultationError, match=r"paper\.txt: holds none of the 4 published texts.*arxiv\.org"):
        found_in(tmp_path, "\f".join(pages))


def test_items_that_begin_alike_at_the_edges_of_some_pages_are_no_header(tmp_path: Path) -> None:
    begun, rest = KIND.split(" kind", 1)
    listed = [f"A paper\n{begun}\nkind{rest}\n{number}" for number in range(3)]
    others = [f"A paper\n{chr(97 + number) * 9} and so on.\n{number}" for number in range(10)]
    content = "\f".join([*others, *listed])
    assert found_in(tmp_path, content)["public", "P1"] == KIND


def test_another_wording_is_not_taken_for_the_published_one(tmp_path: Path) -> None:
    assert set(found_in(tmp_path, f"{KIND.replace('kind', 'mild')}\n{LAW}")) == {("standard", "S1")}
    assert set(found_in(tmp_path, f"{KIND.replace('is kind', 'iskind')}\n{LAW}")) == {
        ("public", "P1"),
        ("standard", "S1"),
    }
    assert ("public", "P1") not in found_in(tmp_path, f"Un{KIND}\n{LAW}")


def a_pdf(lines: list[str]) -> bytes:
    """The least file that is a PDF: one page, lines of text below each other."""
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    stream = f"BT /F1 9 Tf 12 TL 50 700 Td {shown} ET".encode("latin-1")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(content))
        content += b"%d 0 obj%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (size, table, trailer)


def test_a_pdf_is_read(tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(a_pdf(["12. Choose the response that is kind, well-", "meant and first-rate.", "well-meant"]))
    assert find_texts([path], KNOWN) == {("public", "P1"): KIND}


def test_several_files_complete_each_other(tmp_path: Path) -> None:
    paths = [tmp_path / "one.txt", tmp_path / "other.txt"]
    paths[0].write_text(KIND, encoding="utf-8")
    paths[1].write_text(LAW, encoding="utf-8")
    assert set(find_texts(paths, KNOWN)) == {("public", "P1"), ("standard", "S1")}


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "paper.pdf"

    def refused(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(ConsultationError, match=message):
            find_texts([path], KNOWN)

    with pytest.raises(ConsultationError, match=r"nowhere\.pdf: cannot be read"):
        find_texts([tmp_path / "nowhere.pdf"], KNOWN)
    refused(b"%PDF-1.4\nbroken", r"paper\.pdf: not readable as PDF .* as plain text")
    refused(b"\xff\xfe\x00", r"paper\.pdf: neither a PDF nor text in UTF-8 \(byte 0\)")
    refused(a_pdf(["Nothing of it"]), "holds none")
    monkeypatch.setattr(published_texts, "MOST_PAGES", 0)
    refused(a_pdf([KIND]), "1 pages; at most 0 are read")
    monkeypatch.setattr(published_texts, "MOST_CHARACTERS", 5)
    refused(KIND.encode(), "60 characters; at most 5")
    monkeypatch.setattr(published_texts, "MOST_BYTES", 5)
    refused(KIND.encode(), "60 bytes; at most 5")


def test_no_sentence_of_the_publication_ships(test_data: Path) -> None:
    shipped = letters_of(" ".join(path.read_text(encoding="utf-8") for path in FACTS.iterdir()))
    columns = {
        "public_constitution.csv": "text",
        "standard_constitution.csv": "text",
        "comments.csv": "comment-body",
        "aggregation.csv": "aggregated_text",
        "qualitative_prompts.csv": "prompt",
    }
    for name, column in columns.items():
        with (test_data / "ccai" / name).open(newline="", encoding="utf-8") as handle:
            texts = [letters_of(row[column]) for row in csv.DictReader(handle)]
        assert [each for each in texts if len(each) > 20 and each in shipped] == []
    assert len(read_figures(FACTS / "figures.csv")) == 51
