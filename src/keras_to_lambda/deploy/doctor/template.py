"""Template: template.yaml, as far as a check has to understand it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MADE = "stack-made"
FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")


@dataclass(frozen=True)
class Template:
    """A SAM template's body."""

    body: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Template:
        """Read a template.

        Raises:
            OSError; yaml.YAMLError; ValueError: it is no mapping with Resources.
        """
        # Imported here: --help works without yaml.
        from keras_to_lambda.deploy.doctor import short_forms

        with path.open(encoding="utf-8") as file:
            body = short_forms.load(file)
        if not isinstance(body, dict) or not isinstance(body.get("Resources"), dict):
            raise ValueError(f"{path.name} has no Resources")  # noqa: TRY004  # what is in it is wrong
        return cls(body)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.body.get("Parameters", {}))

    def default(self, parameter: str) -> str:
        """A parameter's default; empty where it has none, or is not there."""
        value = self.body.get("Parameters", {}).get(parameter, {}).get("Default", "")
        return str(value)

    def minimum(self, parameter: str) -> int:
        """A parameter's least value; 0 where it has none."""
        return int(self.body.get("Parameters", {}).get(parameter, {}).get("MinValue", 0))

    def faults(self) -> Iterator[str]:
        """What CloudFormation would refuse of the parameters' defaults, each a sentence.

        It does so only when image and bucket are made: AllowedValues, MinValue, MaxValue, Rules.
        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/rules-section-structure.html
        """
        for name, each in self.body.get("Parameters", {}).items():
            value = self.default(name)
            allowed = [str(one) for one in each.get("AllowedValues", ())]
            if allowed and value not in allowed:
                yield f"{name}={value}: one of {', '.join(allowed)}"
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
            case "EachMemberEquals":
                members = self._value(given[0]).split(",")
                return all(each == self._value(given[1]) for each in members)
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
                return self.default(inner) if inner in self.parameters else MADE
            case "If":
                return self._value(inner[1 if self._holds({"Condition": inner[0]}) else 2])
            case "Sub":
                return re.sub(r"\$\{([\w:.]+)\}", lambda m: self._value({"Ref": m[1]}), str(inner))
        raise ValueError(f"a property has {name}, which is not known here")

    def environment(self) -> dict[str, str]:
        """The environment variables of the function that answers."""
        _, properties = next(iter(self.behind_gateway()))
        variables = properties.get("Environment", {}).get("Variables", {})
        return {name: self._value(value) for name, value in variables.items()}

    def deployed_with(self, parameters: Mapping[str, str]) -> Template:
        """The template with these as its parameters' defaults; it may have others, or lack some."""
        own = self.body.get("Parameters", {})
        declared = {
            name: {**each, "Default": parameters[name]} if name in parameters else each
            for name, each in own.items()
        }
        return Template({**self.body, "Parameters": declared})

    def functions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each function's name and properties, with those of Globals under its own."""
        common = self.body.get("Globals", {}).get("Function", {})
        for name, resource in self.body["Resources"].items():
            if resource.get("Type") in FUNCTIONS:
                yield name, {**common, **resource.get("Properties", {})}

    def behind_gateway(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Those that answer an API: with such an event, or all where no function has one."""
        everyone = list(self.functions())
        named = [
            (name, properties)
            for name, properties in everyone
            if any(
                isinstance(event, dict) and event.get("Type") in ("Api", "HttpApi")
                for event in properties.get("Events", {}).values()
            )
        ]
        yield from named or everyone

    def build_argument(self, name: str) -> str:
        """What `sam build` gives the Dockerfile for an ARG; empty where it gives nothing."""
        for resource in self.body["Resources"].values():
            value = resource.get("Metadata", {}).get("DockerBuildArgs", {}).get(name)
            if isinstance(value, str):
                return value
        return ""

    def numbers(self, value: Any) -> list[float]:
        """The numbers that a property may be: itself, a parameter's default, any of an If's."""
        if isinstance(value, int | float):
            return [value]
        if isinstance(value, dict) and "Ref" in value:
            return self.numbers(self.default(value["Ref"]))
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            return [number for item in inner for number in self.numbers(item)]
        return [float(value)] if str(value).isdecimal() else []
