"""`k2l tree`: a decision tree on pixels as a `.tflite`, the baseline for a neural network.

scikit-learn fits the tree; a TensorFlow graph walks it, in as many steps as it has levels.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_to_lambda.cli import frame
from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.runtime.model.card import ModelCard
from keras_to_lambda.train import command, convert_and_serve, files, quiet
from keras_to_lambda.train.data import arrays, sources
from keras_to_lambda.train.data.dataset import Dataset, neutral

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

DEPTH = 12  # the best of 8 to 14 levels on the validation digits
PHOTO_SIDE = 32  # pixels of photos


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """A tree as arrays, a row for each node. A leaf's children are itself.

    feature: int32, (nodes,): the pixel that is compared, in row-major order.
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
    def of(cls, fitted: DecisionTreeClassifier, labels: int) -> Tables:
        """The tables of a tree that was fitted to uint8 pixels.

        Its thresholds are halfway between whole numbers, which float32 holds exactly.
        """
        tree = fitted.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        left = np.where(leaf, own, tree.children_left)
        right = np.where(leaf, own, tree.children_right)
        counts = np.zeros((tree.node_count, labels))
        counts[:, fitted.classes_] = tree.value[:, 0, :] * tree.n_node_samples[:, np.newaxis]
        # One more of each (Laplace): a label that a leaf never saw is unlikely, not impossible.
        shares = (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)
        return cls(
            feature=np.where(leaf, 0, tree.feature).astype(np.int32),
            threshold=np.where(leaf, 0, tree.threshold).astype(np.float32),
            children=np.stack([left, right], axis=1).reshape(-1).astype(np.int32),
            logits=np.log(shares).astype(np.float32),
            depth=int(tree.max_depth),
        )


def fit(data: Dataset, card: ModelCard, seed: int) -> tuple[DecisionTreeClassifier, Tables]:
    """Fit a tree to the training pictures, 0..255."""
    from sklearn.tree import DecisionTreeClassifier as Classifier

    fitted = Classifier(max_depth=DEPTH, random_state=seed)
    fitted.fit(flat(data, "train", card), data.splits["train"].targets)
    return fitted, Tables.of(fitted, len(data.labels))


def flat(data: Dataset, split: str, card: ModelCard) -> npt.NDArray[np.uint8]:
    """The pictures of a split as the card resizes them: uint8, (pictures, pixels)."""
    batches = [batch.astype(np.uint8) for batch in data.splits[split].tensors(card)]
    return np.concatenate(batches).reshape(len(data.splits[split]), -1)


def described(name: str, data: Dataset, size: int | None) -> ModelCard:
    """The card of the tree: pixels as they are, at the size of pictures in arrays."""
    plain = neutral(data, size or (max(data.shape[:2]) if data.shape else PHOTO_SIDE))
    drawing = "mnist" if data.labels == arrays.DIGITS and plain.channels == 1 else "none"
    return dataclasses.replace(
        plain,
        name=name,
        preprocessing=dataclasses.replace(plain.preprocessing, drawing=drawing),
        output="logits",
    )


def save(tables: Tables, card: ModelCard, folder: Path) -> None:
    """Write the SavedModel: float32 (None, height, width, channels) in 0..255 to logits."""
    import tensorflow as tf

    feature, threshold, children, logits = (
        tf.constant(table)
        for table in (tables.feature, tables.threshold, tables.children, tables.logits)
    )
    shape = (None, card.height, card.width, card.channels)

    @tf.function(input_signature=[tf.TensorSpec(shape, name="image")])  # type: ignore[untyped-decorator]
    def walk(image: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.reshape(image, (-1, card.height * card.width * card.channels))
        node = tf.zeros_like(pixels[:, 0], tf.int32)
        for _ in range(tables.depth):
            pixel = tf.gather(pixels, tf.gather(feature, node)[:, tf.newaxis], batch_dims=1)[:, 0]
            right = tf.cast(pixel > tf.gather(threshold, node), tf.int32)
            node = tf.gather(children, 2 * node + right)
        return {"logits": tf.gather(logits, node)}

    tf.saved_model.save(tf.Module(), str(folder), signatures=walk)


@frame.command("k2l tree")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    parser = frame.Parser(
        prog="k2l tree",
        usage="%(prog)s DATA [options]",
        description="Fit a decision tree to pixels, and write it as a SavedModel and as a verified "
        ".tflite: the baseline for a neural network on the same data.",
        epilog=f"DATA is one of these:\n{sources.FORMS}",
    )
    command.add_data(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path,
        help="folder for all files; its name is the model's (default: models/NAME-tree)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, metavar="PIXELS",
        help=f"height and width of the pictures (default: {PHOTO_SIDE}; arrays as they are)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of split and tree (default: %(default)s)"
    )
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    data = command.read(options)
    quiet.tensorflow()
    output = options.output or Path(f"models/{sources.name_of(options.data)}-tree")
    card = described(output.resolve().name, data, options.size)
    _write(data, card, output, options.seed, ["k2l", "tree", *given])
    tflite = convert_and_serve.convert(output / card.name, data)
    if tflite is None:
        return 1
    print(f"next: k2l serve --model {shlex.quote(str(tflite))}")
    return 0


def _write(data: Dataset, card: ModelCard, output: Path, seed: int, line: Sequence[str]) -> None:
    from keras_to_lambda.train import report

    fitted, tables = fit(data, card, seed)
    results = {
        split: Evaluation.of(
            data.labels,
            tables.logits[fitted.apply(flat(data, split, card))],
            data.splits[split].targets,
        )
        for split in ("validation", "test")
    }
    facts = report.provenance("k2l tree", seed, data, results["test"], line)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".train-") as folder:
        draft = Path(folder)
        save(tables, card, draft / card.name)
        files.write_json(
            draft / f"{card.name}.card.json", dataclasses.replace(card, provenance=facts).to_json()
        )
        text = (
            f"scikit-learn's DecisionTreeClassifier on pixels, at most {DEPTH} levels: "
            f"{len(tables.feature):,} nodes, written as a TensorFlow graph. It is the baseline "
            "for a neural network on the same data. Its logits are the logarithms of the labels' "
            "shares in a leaf, one picture of each added."
        )
        markdown = report.model_card(card.name, data, results, report.public(line), text)
        files.write_text(draft / "MODEL_CARD.md", markdown)
        shutil.rmtree(output / card.name, ignore_errors=True)
        for path in sorted(draft.iterdir()):
            path.replace(output / path.name)
    print(f"{len(tables.feature):,} nodes, {tables.depth} levels")
    print("\n".join(report.summary(results)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
