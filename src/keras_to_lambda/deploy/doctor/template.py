"""Template: template.yaml, as far as a check has to understand it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.errors import UserError

MADE = "stack-made"


def load(file: TextIO) -> Any:
    """The content of a YAML file with CloudFormation's short forms.

    `!Ref X` is {"Ref": "X"}, `!If [..]` {"If": [..]}.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html

    Raises:
        ValueError: it is not YAML.
    """
    import yaml  # type: ignore[import-untyped]  # of an extra, which --help does without

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """A safe loader with more tags."""

    def short_form(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            return {name: loader.construct_scalar(node)}
        if isinstance(node, yaml.SequenceNode):
            return {name: loader.construct_sequence(node, deep=True)}
        return {name: loader.construct_mapping(node, deep=True)}

    Loader.add_multi_constructor("!", short_form)
    try:
        return yaml.load(file, Loader)  # noqa: S506
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


@dataclass(frozen=True)
class Template:
    """A SAM template's body."""

    body: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Template:
        """Read a template.

        Raises:
            OSError. UserError: it is not YAML, or has no Resources.
        """
        with path.open(encoding="utf-8") as file:
            try:
                body = load(file)
            except ValueError as error:
                raise UserError(f"{path.name} is not YAML: {error}") from error
        if not isinstance(body, dict) or not isinstance(body.get("Resources"), dict):
            raise UserError(f"{path.name} has no Resources")
        return cls(body)

    @property
    def parameters(self) -> dict[str, str]:
        """Each parameter's default, by name; empty where it has none."""
        declared = self.body.get("Parameters", {})
        return {name: str(each.get("Default", "")) for name, each in declared.items()}

    def given(self, texts: Sequence[str]) -> dict[str, str]:
        """Parameters from NAME=VALUE.

        Raises:
            UserError: no such parameter in the template.
        """
        found = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or name not in self.parameters:
                raise UserError(
                    f"invalid parameter {text!r}: expected NAME=VALUE, NAME one of "
                    f"{', '.join(sorted(self.parameters))}"
                )
            # An absolute path of a model that is here is meant as Docker wants it: from here.
            found[name] = value.removeprefix(f"{ROOT}/") if name == "Model" else value
        return found

    def faults(self) -> Iterator[str]:
        """What CloudFormation would refuse of the parameters' defaults, each a sentence.

        It does so only when image and bucket are made: AllowedValues, AllowedPattern,
        MinValue, MaxValue, Rules.
        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/rules-section-structure.html
        """
        for name, each in self.body.get("Parameters", {}).items():
            value = self.parameters[name]
            allowed = [str(one) for one in each.get("AllowedValues", ())]
            if allowed and value not in allowed:
                yield f"{name}={value}: one of {', '.join(allowed)}"
            elif "AllowedPattern" in each and not re.fullmatch(each["AllowedPattern"], value):
                yield f"{name}={value}: must match {each['AllowedPattern']}"
            elif each.get("Type") == "Number":
                least, most = each.get("MinValue", -math.inf), each.get("MaxValue", math.inf)
                try:
                    fits = least <= float(value) <= most
                except ValueError:
                    fits = False
                if not fits:
                    upwards = f"{least:,} or more" if most == math.inf else f"{least:,} to {most:,}"
                    yield f"{name}={value}: a number, {upwards}"
        for rule in self.body.get("Rules", {}).values():
            if self._holds(rule.get("RuleCondition", {"Equals": ["", ""]})):
                for assertion in rule["Assertions"]:
                    if not self._holds(assertion["Assert"]):
                        yield assertion["AssertDescription"]

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        [(name, given)] = condition.items()
        match name.removeprefix("Fn::"):
            case "Equals":
                return self._value(given[0]) == self._value(given[1])
            case "Contains":
                return self._value(given[1]) in [self._value(each) for each in given[0]]
            case "Not":
                return not self._holds(given[0])
            case "Or":
                return any(self._holds(each) for each in given)
            case "And":
                return all(self._holds(each) for each in given)
            case "Condition":
                return self._holds(self.body["Conditions"][given])
        raise ValueError(f"a rule has {name}, which is not known here")

    def _value(self, given: Any) -> str:
        """A property's text; what only AWS knows is `stack-made`, a name that fits every rule."""
        if not isinstance(given, dict):
            return str(given)
        [(name, inner)] = given.items()
        match name.removeprefix("Fn::"):
            case "Ref":
                return self.parameters.get(inner, MADE)
            case "If":
                return self._value(inner[1 if self._holds({"Condition": inner[0]}) else 2])
            case "Sub":
                return re.sub(r"\$\{([\w:.]+)\}", lambda m: self._value({"Ref": m[1]}), str(inner))
        raise ValueError(f"a property has {name}, which is not known here")

    def environment(self) -> dict[str, str]:
        """The environment variables of the function."""
        for each in self.body["Resources"].values():
            if each.get("Type") == "AWS::Serverless::Function":
                variables = each["Properties"].get("Environment", {}).get("Variables", {})
                return {name: self._value(value) for name, value in variables.items()}
        return {}

    def deployed_with(self, parameters: Mapping[str, str]) -> Template:
        """The template with these as its parameters' defaults; it may have others, or lack some."""
        own = self.body.get("Parameters", {})
        declared = {
            name: {**each, "Default": parameters[name]} if name in parameters else each
            for name, each in own.items()
        }
        return Template({**self.body, "Parameters": declared})
