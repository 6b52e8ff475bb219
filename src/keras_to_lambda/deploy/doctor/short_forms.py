"""YAML with CloudFormation's short forms."""

from __future__ import annotations

from typing import Any, TextIO

import yaml  # type: ignore[import-untyped]


def load(file: TextIO) -> Any:
    """What a file holds.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return yaml.load(file, _Loader)  # noqa: S506  # a SafeLoader with more tags


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short forms: `!Ref X` is {"Ref": "X"}, `!If [..]` {"If": [..]}.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
    """


def _short_form(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)
