"""The package's structure: small rooms, names that occur once, imports that point one way."""

from __future__ import annotations

import ast
import graphlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "keras_to_lambda"
TREES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
}
# By its dotted name below the package: a module's room, the folder that it is in.
ROOM_OF = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path.parent for path in TREES
}


def imported(tree: ast.Module) -> set[str]:
    """The modules that are imported anywhere in a module, by their full names."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if below(whole) in ROOM_OF else node.module or "")
    return names


def below(name: str) -> str | None:
    """A module's name below the package; None: of another package."""
    return name.partition("keras_to_lambda.")[2] if name.startswith("keras_to_lambda.") else None


def test_a_room_has_at_most_ten_modules():
    sizes = Counter(path.parent for path in TREES if path.name != "__init__.py")
    assert {str(room): size for room, size in sizes.items() if size > 10} == {}


def test_no_two_modules_share_a_name():
    names = Counter(path.stem for path in TREES if not path.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_public_classes_share_a_name():
    places = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_imports_between_rooms_make_no_circle():
    graph = defaultdict(set)
    for path, tree in TREES.items():
        if path.name == "__main__.py":  # the command, for who starts Python by hand
            continue
        rooms = {ROOM_OF[name] for each in imported(tree) if (name := below(each)) in ROOM_OF}
        graph[path.parent] |= rooms - {path.parent}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the rooms


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("runtime", {"runtime"}),
        ("cli", {"runtime", "cli"}),
        ("convert", {"runtime", "cli", "convert"}),
        ("train", {"runtime", "cli", "convert", "train"}),
        ("serve", {"runtime", "cli", "serve"}),
        ("deploy", {"runtime", "cli", "serve", "deploy"}),
    ],
)
def test_dependencies_point_one_way(package, allowed):
    packages = {"runtime", "cli", "convert", "train", "serve", "deploy"}
    for path, tree in TREES.items():
        if path.parts[0] != package:
            continue
        for name in imported(tree):
            top, *rest = name.split(".")
            assert top not in {"benchmarks", "tests", "lambda_function"}, path
            if top == "keras_to_lambda":
                other = rest[0] if rest else ""
                assert other not in packages or other in allowed, f"{path} imports {name}"
                assert package != "runtime" or other == "runtime", f"{path} imports {name}"
            if package == "runtime":
                assert top not in {"tensorflow", "keras", "waitress", "requests"}, path
                # Each in the one module that is imported when it is needed.
                assert top not in {"boto3", "botocore"} or path.name == "s3.py", path
                assert top != "multipart" or path.name == "multipart_form.py", path
