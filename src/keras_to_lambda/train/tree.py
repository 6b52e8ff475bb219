"""`k2l tree`: a decision tree on pixels as a `.tflite`, the baseline for a neural network.

scikit-learn fits the tree; a TensorFlow graph walks it, in as many steps as it has levels.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_to_lambda import atomic_files
from keras_to_lambda.cli import frame
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.train import train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SEED, Dataset
from keras_to_lambda.train.fit import quiet
from keras_to_lambda.train.fit.recipe import Recipe

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

DEPTH = 12  # the best of 8 to 14 levels on the validation digits
PHOTO_SIDE = 32  # pixels of photos


def fit(data: Dataset, card: ModelCard) -> DecisionTreeClassifier:
    """Fit a tree to the training pictures, 0..255."""
    from sklearn.tree import DecisionTreeClassifier as Classifier

    fitted = Classifier(max_depth=DEPTH, random_state=SEED)
    return fitted.fit(flat(data, "train", card), data.splits["train"].targets)


def leaf_logits(fitted: DecisionTreeClassifier, labels: int) -> npt.NDArray[np.float32]:
    """For each node the logarithms of the labels' shares in it: float32, (nodes, labels)."""
    tree = fitted.tree_
    counts = np.ones((tree.node_count, labels))
    # One more of each (Laplace): a label that a leaf never saw is unlikely, not impossible.
    counts[:, fitted.classes_] += tree.value[:, 0, :] * tree.n_node_samples[:, np.newaxis]
    return np.asarray(np.log(counts / counts.sum(axis=1, keepdims=True)), np.float32)


def flat(data: Dataset, split: str, card: ModelCard) -> npt.NDArray[np.uint8]:
    """The pictures of a split as the card resizes them: uint8, (pictures, pixels)."""
    batches = [batch.astype(np.uint8) for batch in data.splits[split].tensors(card)]
    return np.concatenate(batches).reshape(len(data.splits[split]), -1)


def described(name: str, data: Dataset) -> ModelCard:
    """The card of the tree: pixels as they are, of arrays at their own size."""
    rows, columns, channels = data.shape or (PHOTO_SIDE, PHOTO_SIDE, 3)
    pixels = Recipe(size=max(rows, columns), channels=channels, scaling="raw")
    return train.card(name, data.labels, pixels)


def save(fitted: DecisionTreeClassifier, card: ModelCard, folder: Path) -> None:
    """Write the SavedModel: float32 (None, height, width, channels) in 0..255 to logits."""
    import tensorflow as tf

    tree = fitted.tree_
    own, leaf = np.arange(tree.node_count), tree.children_left < 0
    # The children of a leaf are itself. Left and right child of each node in turn.
    sides = (np.where(leaf, own, side) for side in (tree.children_left, tree.children_right))
    children = tf.constant(np.stack([*sides], axis=1).reshape(-1), tf.int32)
    feature = tf.constant(np.where(leaf, 0, tree.feature), tf.int32)
    # Of whole numbers, thresholds are halfway between two, which float32 holds exactly.
    threshold = tf.constant(np.where(leaf, 0, tree.threshold), tf.float32)
    logits = tf.constant(leaf_logits(fitted, len(card.labels)))
    shape = (None, card.height, card.width, card.channels)

    @tf.function(input_signature=[tf.TensorSpec(shape, name="image")])  # type: ignore[untyped-decorator]
    def walk(image: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.reshape(image, (-1, card.height * card.width * card.channels))
        node = tf.zeros_like(pixels[:, 0], tf.int32)
        for _ in range(tree.max_depth):
            pixel = tf.gather(pixels, tf.gather(feature, node)[:, tf.newaxis], batch_dims=1)[:, 0]
            right = tf.cast(pixel > tf.gather(threshold, node), tf.int32)
            node = tf.gather(children, 2 * node + right)
        return {"logits": tf.gather(logits, node)}

    tf.saved_model.save(tf.Module(), str(folder), signatures=walk)


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l tree",
        "Fit a decision tree to pixels, and write it as a SavedModel and as a verified .tflite: "
        "the baseline for a neural network on the same data.",
        f"DATA is one of these:\n{sources.FORMS}",
        usage="%(prog)s DATA [options]",
    )
    sources.add(parser)
    add = parser.add_argument
    add("-o", "--output", metavar="DIR", type=Path, help="folder for all files; its name is the "
        "model's (default: models/NAME-tree)")  # fmt: skip
    return parser


@frame.command("k2l tree")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(given)
    data = train.read(options.data, SEED)
    quiet.tensorflow()
    output = options.output or Path(f"models/{sources.name_of(options.data)}-tree")
    card = described(output.resolve().name, data)
    _write(data, card, output, ["k2l", "tree", *given])
    return 0 if train.convert(output / card.name, data) else 1


def _write(data: Dataset, card: ModelCard, output: Path, line: Sequence[str]) -> None:
    from keras_to_lambda.train import run_report

    fitted = fit(data, card)
    logits, nodes = leaf_logits(fitted, len(data.labels)), fitted.tree_.node_count
    results = run_report.results(data, lambda split: logits[fitted.apply(flat(data, split, card))])
    facts = run_report.provenance("k2l tree", SEED, data, results, line)
    with atomic_files.together(output) as draft:
        save(fitted, card, draft / card.name)
        atomic_files.write_json(
            draft / f"{card.name}.card.json", dataclasses.replace(card, provenance=facts).to_json()
        )
    print(f"{nodes:,} nodes, {fitted.get_depth()} levels")
    print(run_report.summary(results), flush=True)
