"""The report that a person looks at, the one for git, and the one for a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.convert.report import report_page, report_text
from keras_to_lambda.convert.report.findings import Findings
from keras_to_lambda.convert.verification.comparison import compare
from keras_to_lambda.convert.verification.measurement import KerasSide
from keras_to_lambda.convert.verification.quantization_choice import Candidate, Choice
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing

VOID = {"meta", "br", "img"}


class Outline(HTMLParser):
    """What a page holds; raises where its tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.links, self.words = [], [], []
        self.feed(page)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def findings(tmp_path):
    """What a conversion would have found: any number of classes, and how far the two are apart."""

    def make(*, classes=5, apart=0.0, samples=12, notes=()):
        random = np.random.default_rng(2)
        photos = []
        for number in range(samples):
            photos.append(tmp_path / f"photo <{number}>.png")
            pixels = random.integers(0, 256, (50, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(photos[-1])
        logits = random.normal(size=(samples, classes)).astype(np.float32)
        facts = {"kind": "keras", "loaded_by": "keras 3", "keras_ms": 1.0, "parameters": 1234}
        keras = KerasSide(
            facts={**facts, "notes": list(notes), "flagged": {}, "pixels": "uint8"},
            card=ModelCard(
                name="<script>alert(1)</script>",
                labels=tuple(f"class <{n}> & co" for n in range(classes)),
                height=32,
                width=48,
                preprocessing=Preprocessing(scaling="rescale"),
                provenance={"source_file": "net.keras"},
            ),
            photos=tuple(photos),
            skipped=0,
            logits=logits,
            parts=np.zeros((samples, 2), np.float32),
            pictures=random.integers(0, 256, (samples, 32, 48, 3), dtype=np.uint8),
            truth=(None,) * samples,
        )
        served = logits + apart * random.normal(size=logits.shape).astype(np.float32)
        run = {"ms": {"1": 4, "2": 2}, "load_ms": 1.0, "interpreter": "x"}
        none, int8 = (
            Candidate(
                name, compare(logits, served, QUANTIZATIONS[name].tolerance), served, size, run
            )
            for name, size in (("none", 4_000_000), ("int8", 1_000_000))
        )
        choice = Choice(none if not none.comparison.faults else None, "asked for", {})
        return Findings.of(keras, [none, int8], choice, {"dynamic": "no <such> operator"})

    return make


def test_the_page_is_whole_escaped_and_needs_no_network(findings):
    page = report_page.html(findings(), "k2l convert net.keras")
    outline = Outline(page)
    pictures = [link for link in outline.links if not link.startswith("#")]
    assert pictures
    assert all(link.startswith("data:image/jpeg;base64,") for link in pictures)
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page)
    assert "default-src 'none'" in page
    assert "<script>" not in page
    for words in (
        "<script>alert(1)</script>",
        "class <0> & co",
        "no <such> operator",
        "Verified: the converted model gives all 12 photos the label that Keras gives.",
        "k2l convert net.keras",
    ):
        assert words in outline.text
    assert len(report_page.html(findings(classes=1001, samples=20), "")) < 500_000


def test_a_failure_looks_like_one(findings):
    found = findings(apart=3.0)
    assert not found.passed
    text = Outline(report_page.html(found, "")).text
    assert "Failed: the converted model gives" in text
    assert "FAILED: top-1 labels agree on" in text
    assert "differs from: inference" in text
    assert "| first stage that differs | inference" in report_text.markdown(found)


def test_the_page_shows_which_answers_changed_and_their_logits(findings):
    found = findings(samples=4)
    logits = np.eye(5, dtype=np.float32)[:4] * 2
    served = logits.copy()
    served[:2, :2] = [[1, 3], [3, 1]]
    keras = replace(found.keras, logits=logits, truth=(1, 1, 2, 3))
    int8 = replace(found.candidates[1], logits=served)
    found = replace(found, keras=keras, subject=int8)
    text = Outline(report_page.html(found, "")).text
    for words in (
        "the int8 model gives 2 of 4 photos another label than Keras (1 now right, 1 now wrong).",
        "It is 1.00 MB (float32: 4.00 MB)",
        "class <0> & co 2.000 1.000 -1 class <1> & co 0.000 3.000 +3",
        "Red: photos that get another label.",
    ):
        assert words in text
    assert report_page.worst(found)[:2] == [0, 1]


def test_what_each_saw_is_shown_and_the_difference_only_where_there_is_one():
    keras = np.full((4, 6, 3), 100, np.uint8)
    assert len(report_page.side_by_side(keras, keras.astype(np.float32))) == 2
    shown = report_page.side_by_side(keras, keras + np.float32(10))
    assert len(shown) == 3
    np.testing.assert_array_equal(np.asarray(shown[2]), np.full((4, 6, 3), 80))
    grey = report_page.side_by_side(keras[..., :1], keras[..., :1] + np.float32(0.4))
    assert [image.mode for image in grey] == ["L", "L"]


def test_text_and_markdown_have_a_row_for_each_quantization(findings):
    found = findings(notes=("a note",))
    text = report_text.markdown(found)
    assert "| none | 100.0% |" in text
    assert "| dynamic |" in text
    assert "cannot be served: no <such> operator" in text
    assert "- a note" in text
    assert not [line for line in text.splitlines() if line.startswith("|") and line[-1] != "|"]
    lines = report_text.terminal(found).splitlines()
    assert lines[0].startswith("  quantization  agreement  largest diff")
    assert lines[1].startswith("  none             100.0%  ")
    assert lines[1].endswith("  chosen")
    assert "chosen: none, asked for" in lines
    assert lines[-3] == "note: a note"
