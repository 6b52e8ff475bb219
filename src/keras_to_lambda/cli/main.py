"""The command `k2l`: one verb for each job, and what each of them needs to be installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple, NoReturn

from keras_to_lambda.cli import frame
from keras_to_lambda.cli.progress import plain_lines


class Verb(NamedTuple):
    """A verb of the command line.

    module: below keras_to_lambda; its `main(argv)` returns the exit status.
    summary: one line for `k2l --help`.
    extra: what of the package has to be installed; "": nothing more.
    needs: modules of that extra, which are looked for before the verb is loaded.
    """

    module: str
    summary: str
    extra: str = ""
    needs: tuple[str, ...] = ()


_KERAS = ("convert", ("tensorflow", "keras", "h5py", "ai_edge_quantizer"))
_TRAIN = ("train", ("tensorflow", "keras", "sklearn", "matplotlib", "optuna", "imagehash"))
VERBS = {
    "convert": Verb("convert.convert", "Keras file -> verified .tflite", *_KERAS),
    "inspect": Verb("convert.inspect_file", "what a model file holds", *_KERAS),
    "detect": Verb("convert.detect", "preprocessing that a model expects", *_KERAS),
    "verify": Verb("convert.verify", "Keras beside a .tflite, an image or a URL", *_KERAS),
    "predict": Verb("cli.predict", "classify images in the terminal"),
    "new": Verb("cli.new", "folder that is deployed as it is"),
    "serve": Verb("serve.serve", "the function and its web page on this machine"),
    "train": Verb("train.train", "folder of photos -> Keras model", *_TRAIN),
    "evaluate": Verb("train.evaluate", "accuracy report of a model or an endpoint", *_TRAIN),
    "explore": Verb("train.explore", "report on a data set", *_TRAIN),
    "search": Verb("train.search", "search for the best training options", *_TRAIN),
    "tree": Verb("train.tree", "decision tree as a baseline", *_TRAIN),
    "doctor": Verb("deploy.doctor.doctor", "check prerequisites, explain errors"),
    "deploy": Verb("deploy.deploy_stack", "build and deploy the stack", "deploy", ("yaml",)),
    "smoke": Verb("deploy.rollout.smoke", "compare a deployment with the local models"),
    "batch": Verb("deploy.batch.batch", "classify millions of images in S3"),
}
USAGE = """\
usage: k2l VERB [OPTION ...]

Turn a trained Keras image classifier into an AWS Lambda endpoint that gives the same
predictions.

{verbs}

  k2l VERB --help    options and examples of a verb
  k2l --version      installed version"""


@frame.command("k2l")
def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        Its exit status: 2 for wrong use, or for a fault of ours, whose traceback is printed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return frame.OK if words else frame.WRONG_USE
    if words[0] in ("-V", "--version"):
        print(f"keras-to-lambda {metadata.version('keras-to-lambda')}")
        return frame.OK
    name, *rest = words
    if name not in VERBS:
        hint = " ".join(filter(None, (frame.nearest(name, VERBS), "`k2l --help` lists them")))
        print(f"k2l: unknown verb {name!r}; {hint}", file=sys.stderr)
        return frame.WRONG_USE
    verb = VERBS[name]
    absent = [module for module in verb.needs if importlib.util.find_spec(module) is None]
    try:
        # Without its extra some of the verbs can still show their help.
        if absent and not {"-h", "--help"} & {*rest}:
            raise ModuleNotFoundError
        module = importlib.import_module(f"keras_to_lambda.{verb.module}")
    except ImportError:
        if not absent:
            raise
        install = f'pip install "keras-to-lambda[{verb.extra}]"'
        clone = f'(in a clone: pip install ".[{verb.extra}]")'
        print(f"k2l {name}: {', '.join(absent)} not installed; {install} {clone}", file=sys.stderr)
        return frame.WRONG_USE

    @frame.command(f"k2l {name}")
    def run_verb() -> int:
        return int(module.main(rest))

    try:
        return run_verb()
    except Exception:  # noqa: BLE001
        # A fault of the program. Python's own status for it, 1, means something else here.
        print(plain_lines(traceback.format_exc()), file=sys.stderr)
        return frame.WRONG_USE


def run() -> NoReturn:
    """Be the process of the console script."""
    sys.exit(main())


def usage() -> str:
    """The text of `k2l --help`."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return USAGE.format(verbs="\n".join(lines))
