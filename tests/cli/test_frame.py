"""The frame of the commands: errors as one line, and exit statuses."""

from __future__ import annotations

import sys

import pytest

from keras_to_lambda.cli import frame, main
from keras_to_lambda.convert.common import samples
from keras_to_lambda.runtime.common.errors import InvalidUrl, UserError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("labels: 3; the model has 4"), 1, "k2l x: labels: 3; the model has 4\n"),
        (UserError("a\x1b[2Jb\nc"), 1, "k2l x: a\\x1b[2Jb\\nc\n"),
        (InvalidUrl("no scheme"), 1, "k2l x: no scheme\n"),
        (FileNotFoundError(2, "No such file", "a.h5"), 1, "k2l x: a.h5: No such file\n"),
        (OSError("broken"), 1, "k2l x: broken\n"),
        (KeyboardInterrupt(), 130, "\nk2l x: stopped\n"),
    ],
    ids=["user", "control", "image", "file", "other", "ctrl-c"],
)
def test_an_error_becomes_a_line_and_a_status(error, status, line, capsys):
    @frame.command("k2l x", refused=frame.FAILED)
    def work() -> int:
        raise error

    assert work() == status
    assert capsys.readouterr().err == line


def test_a_fault_of_the_program_has_a_traceback_and_status_2(capsys, monkeypatch):
    def broken(argv):
        raise KeyError("a fault")

    monkeypatch.setattr("keras_to_lambda.cli.predict.main", broken)
    assert main.main(["predict", "x.jpg"]) == 2
    assert "KeyError: 'a fault'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            ["--kind", "pangs"],
            "k2l x: argument --kind: unknown value 'pangs'; did you mean pants?; see k2l x -h\n",
        ),
        (
            ["--kind", "zzz"],
            "k2l x: argument --kind: unknown value 'zzz'; choose from pants, dress; see k2l x -h\n",
        ),
        (["--no"], "k2l x: unrecognized arguments: --no; see k2l x -h\n"),
    ],
    ids=["near", "far", "option"],
)
def test_wrong_use_is_one_line_with_the_nearest_right_value(argv, line, capsys):
    parser = frame.Parser("k2l x", "A description.")
    parser.add_argument("--kind", choices=("pants", "dress"))
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(argv)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("verb", [name for name, verb in main.VERBS.items() if verb.extra])
def test_a_verb_without_its_extra_names_it(verb, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main.main([verb]) == 2
    extra = main.VERBS[verb].extra
    message = capsys.readouterr().err
    assert (
        f'pip install "keras-to-lambda[{extra}]" (in a clone: pip install ".[{extra}]")' in message
    )
    assert "make" not in message


def test_help_is_shown_without_the_extra(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="0"):
        main.main(["convert", "--help"])
    assert capsys.readouterr().out.startswith("usage: k2l convert")
    monkeypatch.setitem(sys.modules, "keras_to_lambda.train.search", None)
    assert main.main(["search", "--help"]) == 2
    assert 'pip install "keras-to-lambda[train]"' in capsys.readouterr().err


@pytest.mark.parametrize(("name", "came"), [("", "an empty folder"), ("x.jpg", "a single photo")])
def test_samples_that_are_no_folder_of_photos_say_what_came_and_what_is_expected(
    name, came, tmp_path
):
    if name:
        (tmp_path / name).touch()
    words = f"is {came}; expected: a folder of photos"
    with pytest.raises(UserError, match=words), samples.local(tmp_path / name, 9):
        pass


def test_every_root_of_user_errors_is_one_class():
    """Errors that leave a module are UserError or the image errors of the runtime."""
    import ast
    from pathlib import Path

    package = Path(frame.__file__).resolve().parents[1]
    # Caught where they are raised: they end a step, not the command.
    internal = {"Skip", "TimedOut", "Busy", "EngineError", "StepFailed", "Stopped"}
    roots = {
        node.name
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Exception" for base in node.bases)
    }
    assert roots - internal == {"UserError", "ClassifierError"}


def test_progress_names_the_verb(capsys):
    from keras_to_lambda.cli import progress

    progress.use("detect")
    progress.use(quiet=False)  # the sandbox: the verb stays
    progress.step("starting TensorFlow")
    progress.use("convert")
    assert capsys.readouterr().err == "detect: starting TensorFlow ...\n"
