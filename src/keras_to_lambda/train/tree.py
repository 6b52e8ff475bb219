"""A decision tree on pixels, compiled to a graph: what a neural network is compared with.

k2l tree DATA -o models/digits-tree

scikit-learn fits the tree; TensorFlow walks it, in as many steps as it is deep, with four small
tables. The SavedModel is converted and verified like any other.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.train import handover
from keras_to_lambda.train.data import idx
from keras_to_lambda.train.data.dataset import DataError, Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.tree import DecisionTreeClassifier

# The best of depths 8 to 14 and any, and leaves of 1 to 10, on the validation digits: 0.81.
DEPTH, LEAF = 12, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """A tree as arrays, a row for each node. A leaf's children are itself: walking on stays there.

    feature: int32, (nodes,): the pixel that is looked at, in row-major order.
    threshold: float32, (nodes,): go left if the pixel is at most this.
    children: int32, (2 * nodes,): left and right child of each node in turn.
    logits: float32, (nodes, labels): of a leaf, the logarithms of the labels' shares in it.
    depth: the most steps from the root to a leaf.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    children: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    depth: int

    @classmethod
    def of(cls, fitted: DecisionTreeClassifier) -> Tables:
        """The tables of a tree that was fitted to uint8 pixels.

        Its thresholds are halfway between whole numbers, which float32 holds exactly.
        """
        tree = fitted.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        left = np.where(leaf, own, tree.children_left)
        right = np.where(leaf, own, tree.children_right)
        counts = tree.value[:, 0, :] * tree.n_node_samples[:, np.newaxis]
        # One more of each (Laplace): a label that a leaf never saw is unlikely, not impossible.
        shares = (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)
        return cls(
            feature=np.where(leaf, 0, tree.feature).astype(np.int32),
            threshold=np.where(leaf, 0, tree.threshold).astype(np.float32),
            children=np.stack([left, right], axis=1).reshape(-1).astype(np.int32),
            logits=np.log(shares).astype(np.float32),
            depth=int(tree.max_depth),
        )


def fit(data: Dataset, seed: int) -> DecisionTreeClassifier:
    """Fit a tree to the training pictures, 0..255."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=LEAF, random_state=seed)
    return tree.fit(flat(data, "train"), data.splits["train"].targets)


def flat(data: Dataset, split: str) -> npt.NDArray[np.uint8]:
    """The pictures of a split: uint8, (pictures, pixels)."""
    images = data.splits[split].images
    return images.reshape(len(images), -1)


def card(name: str, data: Dataset) -> ModelCard:
    """How the tree is to be served: pixels as they are, at their size."""
    _, height, width = data.splits["train"].images.shape
    return ModelCard(
        name=name,
        labels=data.labels,
        height=height,
        width=width,
        channels=1,
        preprocessing=Preprocessing(
            interpolation="pillow:bilinear",
            scaling="raw",
            exif="apply",
            drawing="mnist" if data.labels == idx.DIGITS else "none",
        ),
        output="logits",
    )


def save(tables: Tables, height: int, width: int, folder: Path) -> None:
    """Write the SavedModel: float32 (None, height, width, 1) in 0..255 to (None, labels)."""
    import tensorflow as tf

    feature, threshold, children, logits = (
        tf.constant(table)
        for table in (tables.feature, tables.threshold, tables.children, tables.logits)
    )

    @tf.function(input_signature=[tf.TensorSpec((None, height, width, 1), name="image")])
    def walk(image: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.reshape(image, (-1, height * width))
        node = tf.zeros_like(pixels[:, 0], tf.int32)
        for _ in range(tables.depth):
            pixel = tf.gather(pixels, tf.gather(feature, node)[:, tf.newaxis], batch_dims=1)[:, 0]
            right = tf.cast(pixel > tf.gather(threshold, node), tf.int32)
            node = tf.gather(children, 2 * node + right)
        return {"logits": tf.gather(logits, node)}

    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures=walk)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 1: not converted; 2: wrong arguments or files."""
    parser = argparse.ArgumentParser(
        prog="k2l tree",
        description="Fit a decision tree to the pixels of idx files (MNIST and its like), and "
        "write it as a SavedModel and as the .tflite that `k2l convert` makes of it.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="the folder with the idx files")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("models/digits-tree"),
        help="where everything is written, and the model's name (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of split and tree (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        data = idx.load(options.data, options.seed)
    except DataError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    given = sys.argv[1:] if arguments is None else arguments
    for line in _write(
        data, options.output, options.seed, ["python", "-m", "keras_to_lambda", "tree", *given]
    ):
        print(line)
    model = options.output / options.output.resolve().name
    tflite = handover.convert(model, data)
    if tflite is None:
        return 1
    print(f"next: k2l serve --model {shlex.quote(str(tflite))}")
    return 0


def _write(data: Dataset, output: Path, seed: int, command: Sequence[str]) -> list[str]:
    from keras_to_lambda.train import files, report

    fitted = fit(data, seed)
    tables = Tables.of(fitted)
    name = output.resolve().name
    results = {
        split: Evaluation.of(
            data.labels,
            tables.logits[fitted.apply(flat(data, split))],
            data.splits[split].targets,
        )
        for split in ("validation", "test")
    }
    test = results["test"]
    facts = report.provenance("k2l tree", seed, data, test, command)
    plain = card(name, data)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".train-") as folder:
        draft = Path(folder)
        save(tables, plain.height, plain.width, draft / name)
        described = dataclasses.replace(plain, provenance=facts)
        files.write_json(draft / f"{name}.card.json", described.to_json())
        markdown = _markdown(name, data, tables, results, report.public(command))
        (draft / "MODEL_CARD.md").write_text(markdown, encoding="utf-8")
        shutil.rmtree(output / name, ignore_errors=True)
        for path in sorted(draft.iterdir()):
            path.replace(output / path.name)
    return [
        f"{len(tables.feature):,} nodes, {tables.depth} levels",
        *report.told(results),
    ]


def _markdown(
    name: str, data: Dataset, tables: Tables, results: dict[str, Evaluation], command: str
) -> str:
    from keras_to_lambda.train import report

    test = results["test"]
    low, high = test.interval
    counts = {split: len(pictures) for split, pictures in data.splits.items()}
    lines = [
        f"# {name}",
        "",
        f"A decision tree on pixels with {len(data.labels)} classes: {', '.join(data.labels)}. It "
        "is here to lose against the neural network beside it: choose both in the playground.",
        "",
        f"**Test accuracy {test.accuracy:.3f}** on {test.photos} pictures that were used for "
        f"nothing else; 95 % interval {low:.3f} to {high:.3f} (Wilson). Validation accuracy "
        f"{results['validation'].accuracy:.3f} on {results['validation'].photos} pictures.",
        "",
        "## How it was made",
        "",
        f"scikit-learn's DecisionTreeClassifier on the {counts['train']:,} training pictures' "
        f"pixels, at most {DEPTH} levels and at least {LEAF} pictures a leaf: "
        f"{len(tables.feature):,} nodes. `train/tree.py` writes it as a TensorFlow graph, which "
        "`k2l convert` turned into the `.tflite`. Its logits are the logarithms of the "
        "labels' shares in a leaf, one picture of each added.",
        "",
        "```",
        command,
        "```",
        "",
        *report.tables(test),
        "## Data",
        "",
        f"{sum(counts.values()):,} pictures; SHA-256 over contents `{data.sha256}`.",
        *report.about(name),
    ]
    return "\n".join(lines) + "\n"
