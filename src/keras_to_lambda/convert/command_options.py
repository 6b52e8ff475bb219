"""Options: what the commands of convert/ have in common on their command lines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.sandbox.sandbox import Sandbox


def add_model(p: argparse.ArgumentParser) -> None:
    """Options about a Keras file."""
    group = p.add_argument_group("the Keras file")
    group.add_argument(
        "--size",
        metavar="HxW",
        help="input size in pixels, where the model leaves it open (default: the model's)",
    )
    group.add_argument(
        "--head",
        metavar="NAME",
        help="name or index of the classifier's output, where there are several (default: none)",
    )
    group.add_argument(
        "--backend",
        choices=("tensorflow", "theano"),
        help="the library that trained it, for files of Keras 1 that do not name it: Theano's "
        "convolutions turn their kernels (default: the file's, or tensorflow)",
    )
    group.add_argument(
        "--custom",
        type=Path,
        metavar="FILE.py",
        help="Python file with the layers and functions that the model names; it is run in the "
        "sandbox (default: none)",
    )
    group.add_argument(
        "--trust",
        action="store_true",
        help="run the code in the file (Lambda layers and such), still sandboxed (default: no)",
    )


def add_run(p: argparse.ArgumentParser) -> None:
    """Options about the run."""
    group = p.add_argument_group("the run")
    group.add_argument("--quiet", action="store_true", help="print errors and the result only")
    group.add_argument("--json", action="store_true", help="the result as JSON on stdout")


def add_samples(p: argparse.ArgumentParser, meaning: str) -> None:
    """Options about the photos."""
    p.add_argument(
        "--samples",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"{meaning}, or a .zip file of them; or the test pictures of other data that "
        "`k2l train` reads (idx files, .csv, .npz, CIFAR's archive, keras:mnist)",
    )
    p.add_argument(
        "--max-samples",
        type=_positive,
        default=200,
        metavar="N",
        help="largest number of photos used, evenly spread (default: 200)",
    )


def add_proof(p: argparse.ArgumentParser) -> None:
    """The option that overrules the samples."""
    p.add_argument(
        "--accept-accuracy",
        action="store_true",
        help="accept an accuracy on labelled samples that is no better than chance or "
        "significantly below the card's, and equal answers for all samples (default: no)",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def wanted(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `keras_model.Wanted`, as JSON."""
    size = None
    if args.size is not None:
        height, x, width = args.size.lower().partition("x")
        if not (x and height.isdecimal() and width.isdecimal()):
            raise ConvertError(f"--size {args.size!r} is not HEIGHTxWIDTH, like 224x224")
        size = int(height), int(width)
    return {
        "size": size,
        "head": args.head,
        "trust": args.trust,
        "backend": args.backend,
        "custom": args.custom and str(args.custom.absolute()),
    }


def sandbox(args: argparse.Namespace, python: Path | None = None) -> Sandbox:
    """The sandbox of a command, as quiet as its options say; python: the child's interpreter."""
    progress.use(quiet=args.quiet)
    return Sandbox(python=python)
