"""The docs say what is true: every command, file, option and table in them exists as they say."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import runpy
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from keras_to_lambda.cli.main import VERBS
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "events" / "README.md",
    ROOT / "samples" / "README.md",
]
generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
TEXT = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
EVERYTHING = "\n".join(TEXT.values())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_code(path):
    assert generate["renewed"](TEXT[path]) == TEXT[path], "run: make docs"


def test_the_card_in_the_docs_has_every_field_and_is_valid():
    text = TEXT[ROOT / "docs" / "tflite.md"]
    shown = json.loads(re.search(r"```json\n(\{.*?^\})", text, re.MULTILINE | re.DOTALL)[1])
    assert ModelCard.from_json(shown).labels == tuple(shown["labels"])
    assert set(shown["preprocessing"]) == {field.name for field in fields(Preprocessing)}
    for name in shown.keys() - {"schema_version", "name", "preprocessing"}:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path):
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT[path]):
        # ../../actions/ is the workflow's page, wherever the repository is hosted.
        if not link.startswith(("https://", "http://", "../../actions/")):
            assert (path.parent / link).exists(), link
    for name in re.findall(r"events/([a-z0-9-]+\.json)", TEXT[path]):
        assert (ROOT / "events" / name).exists(), name


def test_every_make_target_exists_and_has_a_help_line():
    workflows = (ROOT / ".github" / "workflows").glob("*.yml")
    text = "\n".join([EVERYTHING, *(path.read_text("utf-8") for path in workflows)])
    targets = set(re.findall(r"(?:`|^ *|run: )make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert {"demo", "test", "run", "help", "emulator"} <= targets
    listed = subprocess.run(
        ["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for target in targets:
        assert re.search(rf"^  make {target} ", listed, re.MULTILINE), target


def test_every_module_and_verb_named_as_a_command_is_one():
    modules = set(re.findall(r"python -m ([a-z_0-9.]+)", EVERYTHING))
    assert modules
    for module in modules:
        name = module if "." in module or module == "convert" else f"{module}.__main__"
        assert importlib.util.find_spec(name), module
    named = set(re.findall(r"\bk2l ([a-z]+)", EVERYTHING))
    assert {"convert", "serve", "deploy"} <= named
    assert named <= {*VERBS}


def test_what_the_docs_show_of_the_demo_is_what_the_function_answers():
    text = TEXT[ROOT / "docs" / "demo.md"]
    shown = json.loads(re.search(r"^{\n.*?^}", text, re.MULTILINE | re.DOTALL)[0])
    photo = (ROOT / "samples" / "t-shirt.jpg").read_bytes()
    handler = Handler(Settings(num_threads=1, log_level="FATAL"))
    answer = handler.handle({"image": base64.b64encode(photo).decode()})
    assert shown == pytest.approx(answer, rel=1e-4, abs=1e-4)


def test_the_table_of_old_files_has_each_of_them():
    rows = re.findall(
        r"^\| (?:keras|tensorflow) .*$", TEXT[ROOT / "docs" / "files.md"], re.MULTILINE
    )
    found = 0
    for index in (ROOT / "tests" / "convert" / "saved_by" / "files").glob("*/index.json"):
        for facts in json.loads(index.read_text(encoding="utf-8"))["models"].values():
            version = index.parent.name.replace("-", " ")
            (row,) = [
                r for r in rows if r.startswith(f"| {version} |") and facts["about"] + " |" in r
            ]
            assert ("refused: " in row) == (facts["expected"] == "refused")
            found += 1
    assert found == len(rows) > 60


@pytest.mark.parametrize(
    ("name", "photos", "least", "samples"),
    [("clothing", 372, 0.75, 341), ("digits", 1500, 0.98, 1500), ("digits-tree", 1500, 0.7, 1500)],
)
def test_a_committed_model_is_small_and_verified_and_its_figures_are_those_of_the_run(
    name, photos, least, samples
):
    folder = ROOT / "models" / name
    path = folder / f"{name}.tflite"
    assert path.stat().st_size <= 5_000_000
    card = cards.load(path)
    cards.check_hash(path, card)
    assert card.verification["passed"] is True
    assert card.verification["samples"] == samples
    if (source := folder / f"{name}.keras").exists():
        assert source.stat().st_size <= 5_000_000
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        assert card.provenance["source_sha256"] == digest
    accuracy = card.provenance["test_accuracy"]
    assert accuracy >= least
    text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"Test accuracy {accuracy:.3f}" in text
    if name != "clothing":
        assert f"{accuracy:.3f}" in TEXT[ROOT / "docs" / "playground.md"]
    if (run := folder / "training.json").exists():
        test = json.loads(run.read_text(encoding="utf-8"))["results"]["test"]
        low, high = test["interval_95"]
        assert f"{low:.3f} to {high:.3f}" in text
        assert (test["photos"], test["accuracy"]) == (photos, accuracy)


def test_pictures_are_pictures_and_each_is_shown():
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert len(pictures) == 10
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 250_000
        assert f"images/{picture.name}" in EVERYTHING
