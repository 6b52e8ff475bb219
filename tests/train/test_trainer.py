"""`python -m train` from pictures to a served model, on generated pictures."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from classifier import card as cards
from train import photos
from train.__main__ import card, main
from train.recipe import Recipe
from train.trainer import Trainer, order

EPOCHS = 24
OPTIONS = ("--size", "32", "--batch-size", "16", "--learning-rate", "0.004")


@pytest.mark.parametrize(("photos_", "batch_size"), [(10, 3), (64, 64), (37, 5)])
def test_an_epochs_order_is_a_permutation_that_the_seed_decides(photos_, batch_size):
    rows = order(photos_, batch_size, 1, 0)
    assert rows.shape == (photos_ // batch_size, batch_size)
    assert rows.dtype == np.int32
    assert len(set(rows.ravel().tolist())) == rows.size
    assert set(rows.ravel().tolist()) <= set(range(photos_))
    assert order(photos_, batch_size, 1, 0).tolist() == rows.tolist()
    assert order(photos_, batch_size, 1, 1).tolist() != rows.tolist()
    assert order(photos_, batch_size, 2, 0).tolist() != rows.tolist()


def test_stages_add_up_and_end_at_the_full_size():
    assert [(s.size, s.epochs) for s in Recipe().stages()] == [(96, 92), (128, 84), (160, 44)]
    for epochs in range(1, 40):
        stages = Recipe(size=64, epochs=epochs).stages()
        assert sum(stage.epochs for stage in stages) == epochs


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """A whole run, with one broken picture among the others."""
    folder = tmp_path_factory.mktemp("train")
    data = pictures(folder / "data", each=40)
    (data / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    status = main(
        [str(data), "-o", str(folder / "shapes"), "--epochs", str(EPOCHS), *OPTIONS, "--seed", "4"]
    )
    assert status == 0
    return folder / "shapes"


def test_a_run_writes_model_card_record_and_report_and_nothing_else(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "MODEL_CARD.md",
        "shapes.card.json",
        "shapes.keras",
        "training.json",
    ]


def test_a_run_learns_what_can_be_learnt(trained):
    record = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert record["results"]["validation"]["photos"] == 12
    assert record["results"]["test"]["photos"] == 12
    right = sum(record["results"][name]["accuracy"] * 12 for name in ("validation", "test"))
    assert right / 24 >= 0.8
    assert record["history"][-1]["epoch"] == EPOCHS
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert record["skipped"][0][0] == "disc/broken.png"
    assert record["photos"] == {"train": 96, "validation": 12, "test": 12}
    # Paths are of one machine: only their last part is told.
    assert record["command"].startswith("python -m train data -o shapes --epochs")


def test_the_card_says_how_the_model_is_to_be_served(trained):
    card = cards.load_json(trained / "shapes.card.json")
    assert card.labels == ("disc", "plain", "stripes")
    assert (card.height, card.width, card.output) == (32, 32, "logits")
    assert card.preprocessing.interpolation == "pillow:bilinear"
    assert card.preprocessing.scaling == "mobilenet_v2"
    assert card.provenance["seed"] == 4


def test_the_report_tells_accuracy_interval_and_skipped_files(trained):
    text = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert text.startswith("# shapes\n")
    assert "**Test accuracy " in text
    assert "95 % interval" in text
    assert "Files skipped as broken: 1." in text


def test_what_was_trained_converts_with_samples_alone(trained, tmp_path):
    from convert.__main__ import main as convert

    output = tmp_path / "shapes.tflite"
    samples = trained.parent / "data"
    assert (
        convert([str(trained / "shapes.keras"), "--samples", str(samples), "-o", str(output)]) == 0
    )
    card = cards.load(output)
    assert card.name == "shapes"
    assert card.labels == ("disc", "plain", "stripes")
    assert card.preprocessing.interpolation == "pillow:bilinear"
    assert card.provenance["trained_by"] == "python -m train"
    assert card.verification["passed"] is True
    assert card.verification["skipped"] == 1


@pytest.fixture
def trainer(pictures, tmp_path):
    """Make a trainer of a short run on the same pictures, with the same checkpoints."""
    root = pictures(tmp_path / "data", each=12)

    def make(recipe, checkpoints="checkpoints"):
        data = photos.load(root, lambda labels: card("any", labels, recipe), recipe.seed)
        return Trainer(recipe, card("any", data.labels, recipe), data, tmp_path / checkpoints)

    return make


def recipe(**changes):
    """Two epochs, which are two stages."""
    return Recipe(**{"size": 32, "epochs": 2, "batch_size": 10, "seed": 3, **changes})


def test_a_stopped_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(
    trainer, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("train.trainer.SAVE_EVERY_S", -1.0)
    whole = trainer(recipe(), "whole")
    step = Trainer._step

    def step_that_keeps_the_checkpoint(self, stage, pixels):
        if len(self.history) == 1:  # what a run leaves behind that is stopped in its second epoch
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
        return step(self, stage, pixels)

    monkeypatch.setattr(Trainer, "_step", step_that_keeps_the_checkpoint)
    whole.run()
    capsys.readouterr()
    monkeypatch.setattr(Trainer, "_step", step)

    resumed = trainer(recipe(), "stopped")
    resumed.run()
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "resuming after epoch 1"
    assert [line[:11] for line in told[1:]] == ["epoch   2/2"]
    assert int(resumed.optimizer.iterations) == 2 * resumed.steps == 6
    assert resumed.history[0] == whole.history[0]
    assert resumed.history[1]["learning_rate"] == whole.history[1]["learning_rate"]
    assert resumed.history[1]["loss"] == pytest.approx(whole.history[1]["loss"], rel=0.01)
    for a, b in zip(resumed.average.get_weights(), whole.average.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02)


def test_a_finished_run_has_nothing_left_to_do_and_another_does_not_go_on_from_it(trainer, capsys):
    first = trainer(recipe(epochs=1))
    first.run()
    again = trainer(recipe(epochs=1))
    again.run()
    assert again.history == first.history
    for a, b in zip(again.average.get_weights(), first.average.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    capsys.readouterr()
    other = trainer(recipe(epochs=1, learning_rate=1e-3))
    other._restore()
    assert "is of another run: starting from the beginning" in capsys.readouterr().out
    assert other.history == []
