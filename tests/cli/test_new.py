"""`k2l new` writes a folder that is deployed as it is, and renews it."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from keras_to_lambda import project
from keras_to_lambda.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "clothing" / "clothing.tflite"


@pytest.fixture
def folder(tmp_path):
    assert main(["new", str(tmp_path / "my-api"), "--model", str(MODEL)]) == 0
    return tmp_path / "my-api"


def committed():
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone: git lists no files")
    return set(listed.stdout.split())


def test_the_folder_holds_the_files_of_the_repository_and_the_model(folder):
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    own = {"README.md", ".gitignore", ".k2l.json", "models/clothing/clothing.tflite"}
    assert own < written
    for name in written - own - {"samconfig.toml"}:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert (folder / "models/clothing/clothing.tflite").read_bytes() == MODEL.read_bytes()


def test_the_folder_has_all_that_the_dockerfile_the_template_and_samconfig_name(folder):
    dockerfile = (folder / "Dockerfile").read_text()
    names = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", dockerfile, re.MULTILINE)
    names = [name for line in names for name in line.split() if "$" not in name]
    template = (folder / "template.yaml").read_text()
    names += re.findall(r"(?:DefinitionUri|Dockerfile): (\S+)", template)
    settings = tomllib.loads((folder / "samconfig.toml").read_text())["default"]
    names.append(settings["local_invoke"]["parameters"]["env_vars"])
    assert len(names) > 6
    for name in names:
        assert (folder / name).exists(), name
    assert settings["global"]["parameters"]["stack_name"] == "my-api"


def test_every_committed_file_of_the_packaged_folders_is_in_it(folder):
    for name in committed():
        if name.startswith(("src/keras_to_lambda/runtime/", "web/")):
            assert (folder / name).is_file(), name


def test_the_wheel_has_the_files_that_the_folder_needs():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    prefix = "keras_to_lambda/skeleton/"
    packed = {name for name, place in included.items() if place == prefix + name}
    assert packed == set(project.FILES)
    for name in project.FILES:
        assert any(f"/{name}".startswith(each) for each in build["targets"]["sdist"]["include"])


def test_an_update_changes_nothing_where_nothing_is_new(folder, capsys):
    capsys.readouterr()
    assert main(["new", str(folder), "--update"]) == 0
    assert capsys.readouterr().out == "0 renewed, 0 removed, 0 edited\n"


def older(folder, name, text):
    """As if an earlier release had written the file with another text."""
    import hashlib

    (folder / name).write_text(text)
    record = json.loads((folder / ".k2l.json").read_text())
    record["files"][name] = hashlib.sha256(text.encode()).hexdigest()
    (folder / ".k2l.json").write_text(json.dumps(record))


def test_an_update_renews_old_files_and_shows_the_difference(folder, capsys):
    old = (ROOT / "Dockerfile").read_text().replace("WORKDIR /files", "WORKDIR /old")
    older(folder, "Dockerfile", old)
    older(folder, "web/gone.js", "1;")
    capsys.readouterr()
    assert main(["new", str(folder), "--update"]) == 0
    printed = capsys.readouterr().out
    assert "-WORKDIR /old\n+WORKDIR /files\n" in printed
    assert printed.endswith("web/gone.js: 2 -> 0 bytes\n1 renewed, 1 removed, 0 edited\n")
    assert (folder / "Dockerfile").read_bytes() == (ROOT / "Dockerfile").read_bytes()
    assert not (folder / "web/gone.js").exists()


def test_an_update_keeps_what_the_user_edited(folder, capsys):
    older(folder, "template.yaml", "Description: old\n")
    (folder / "template.yaml").write_text("Description: mine\n")
    (folder / "Dockerfile").write_text("FROM mine\n")  # has no newer version
    assert main(["new", str(folder), "--update"]) == 1
    assert (folder / "template.yaml").read_text() == "Description: mine\n"
    assert (folder / "template.yaml.new").read_bytes() == (ROOT / "template.yaml").read_bytes()
    assert (folder / "Dockerfile").read_text() == "FROM mine\n"
    assert "template.yaml was edited and stays" in capsys.readouterr().out
    assert main(["new", str(folder), "--update"]) == 0  # offered once


@pytest.mark.parametrize("there", ["a file", "a link", "a folder"])
def test_an_update_writes_over_nothing_that_it_did_not_write(folder, tmp_path, capsys, there):
    older(folder, "template.yaml", "Description: old\n")
    (folder / "template.yaml").write_text("Description: mine\n")
    older(folder, "Dockerfile", "FROM old\n")
    (folder / "Dockerfile").rename(tmp_path / "elsewhere")
    (tmp_path / "precious").write_text("precious")
    (folder / "Dockerfile").symlink_to(tmp_path / "elsewhere")
    offer = folder / "template.yaml.new"
    if there == "a file":
        offer.write_text("precious")
    elif there == "a link":
        offer.symlink_to(tmp_path / "precious")
    else:
        offer.mkdir()
    for _ in range(2):  # it is offered until it could be written
        capsys.readouterr()
        assert main(["new", str(folder), "--update"]) == 1
        assert "template.yaml.new is not ours and stays" in capsys.readouterr().out
    assert offer.is_dir() or offer.read_text() == "precious"
    assert (tmp_path / "elsewhere").read_text() == "FROM old\n"
    assert (folder / "Dockerfile").read_bytes() == (ROOT / "Dockerfile").read_bytes()
    offer.rename(tmp_path / "renamed")
    assert main(["new", str(folder), "--update"]) == 1
    assert offer.read_bytes() == (ROOT / "template.yaml").read_bytes()


def test_printed_paths_are_normalised(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["new", "../my-api", "--model", str(MODEL)]) == 0
    assert f"cd {tmp_path / 'my-api'} && k2l doctor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/my_api", "--model", str(MODEL)], "invalid folder name 'my_api'"),
        (["{}/9", "--model", str(MODEL)], "invalid folder name '9'"),
        (["{}/a"], "no model; use --model FILE.tflite"),
        (["{}/a", "--model", "my.keras"], "my.keras is not a .tflite file"),
        (["{}/a", "--model", "none.tflite"], "none.tflite"),
        (["{}", "--model", str(MODEL)], "exists and is not empty"),
        (["{}", "--update"], "has no usable .k2l.json"),
        (["{}", "--update", "--model", "x.tflite"], "--update keeps the model"),
    ],
    ids=["name", "digit", "no-model", "keras", "missing", "not-empty", "foreign", "both"],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    arguments, message, tmp_path, capsys
):
    (tmp_path / "file").touch()
    assert main(["new", *(each.format(tmp_path) for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_in_the_folder_its_own_model_stack_and_template_are_used(folder, monkeypatch):
    monkeypatch.chdir(folder / "events")
    assert project.root() == folder
    monkeypatch.setattr(project, "ROOT", folder)
    assert project.stack() == "my-api"
    assert project.models() == str(folder / "models")
