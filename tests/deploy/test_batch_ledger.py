"""The ledger: one row an image, the best that is known of it, in whatever order it is read."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_to_lambda.deploy.batch.batch import main
from keras_to_lambda.deploy.batch.cloud import BatchError
from keras_to_lambda.deploy.batch.image_list import Images, identity
from keras_to_lambda.deploy.batch.ledger import Ledger, Standing

LINES = {
    Standing.UNDONE: None,
    Standing.AGAIN: {"error": {"code": "fetch_failed", "message": "m"}, "retry": True},
    Standing.REFUSED: {"error": {"code": "undecodable_image", "message": "m"}},
    Standing.ANSWERED: {"model": "m", "scores": {"a": 0.1, "b": 0.9}},
}


def read(events):
    """The summary and the rows after what is known has come in this order."""
    with Ledger() as ledger:
        for name, standing, part in events:
            if standing == Standing.LISTED:
                ledger.list(name, {"url": name})
            else:
                ledger.put(name, standing, part, {"url": name}, LINES[standing])
        return ledger.summary(), list(ledger.rows({1: "run", 2: "run.2"})), list(ledger.undone())


def test_an_answer_replaces_an_error_and_never_the_other_way_round():
    known = [("x", standing, part) for standing in Standing for part in (1, 2)]
    for events in itertools.islice(itertools.permutations(known), 0, 40_000, 997):
        summary, [row], undone = read(events)
        assert (summary.inputs, summary.unlisted, summary.answered, undone) == (1, 0, {"b": 1}, [])
        assert (row.label, row.score, row.run) == ("b", 0.9, "run.2")


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([*Standing]), st.sampled_from([1, 2]))
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_in_whatever_order_every_image_is_counted_once(events, random):
    summary, rows, undone = read(events)
    names = {name for name, _, _ in events}
    best = {name: max(s for n, s, _ in events if n == name) for name in names}
    assert [row.image for row in rows] == sorted(names)
    listed = {name for name, standing, _ in events if standing == Standing.LISTED}
    assert (summary.inputs, summary.unlisted) == (len(listed), len(names - listed))
    answered = sum(each == Standing.ANSWERED for each in best.values())
    assert summary.answered.total() == answered
    assert summary.missing == sum(each <= Standing.UNDONE for each in best.values())
    assert [each["url"] for each in undone] == [
        name for name in sorted(names) if best[name] <= Standing.AGAIN
    ]
    random.shuffle(events)
    assert read(events)[:2] == (summary, rows)


def test_an_answer_to_what_is_not_in_the_input_is_no_image_of_it():
    with Ledger() as ledger:
        ledger.list("s3://b/a+b.jpg", {"Key": "a+b.jpg"})
        ledger.put("s3://b/a b.jpg", Standing.ANSWERED, 1, {}, LINES[Standing.ANSWERED])
        found = ledger.summary()
    assert (found.inputs, found.unlisted, found.answered, found.missing) == (1, 1, {"b": 1}, 1)


@pytest.mark.parametrize("bytes_of_a_file", [4096, 1 << 20])
def test_a_temporary_folder_without_room_is_one_line_with_a_remedy(little_room, bytes_of_a_file):
    """Of no file there at all, and of one that grows too large."""

    def fill():
        with Ledger() as ledger:
            for number in range(20_000):
                ledger.list(f"s3://b/{number:0100}.jpg", {})
            ledger.summary()

    little_room(bytes_of_a_file)
    with pytest.raises(BatchError, match=r"^the temporary folder /.* make room .* TMPDIR"):
        fill()


def test_images_are_distinguished_by_what_the_caller_called_them():
    names = [
        identity({"Key": "a.jpg"}, "one"),
        identity({"Key": "a.jpg", "Bucket": "two"}, "one"),
        identity({"url": "https://h/a.jpg?1"}, "one"),
        identity({"url": "https://h/a.jpg?2"}, "one"),
        identity({"image": "aGk="}, "one"),
        identity({"image": "aG8="}, "one"),
    ]
    assert len(set(names)) == len(names)
    assert names[0] == identity({"url": "s3://one/a.jpg"}, None)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("s3://b/", "prefix"),
        ("s3://b/photos/2026/", "prefix"),
        ("s3://b/exports.csv/", "prefix"),
        ("s3://b/list.txt/", "prefix"),
        ("s3://b/list.csv", "csv"),
        ("s3://b/list.jsonl", "jsonl"),
        ("s3://b/x/2026-01-01T00-00Z/manifest.json", "manifest"),
    ],
)
def test_the_last_letters_decide_what_an_input_is(url, kind):
    assert Images.named(url).kind == kind


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["start"],
        ["start", "s3://b/", "--items", "0"],
        ["start", "s3://b/", "--tolerate", "101"],
        ["start", "s3://b/", "--scores", "percent"],
    ],
)
def test_wrong_usage_is_exit_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "; see k2l batch" in capsys.readouterr().err
