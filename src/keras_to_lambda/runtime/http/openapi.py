"""The API's description, `openapi.json`, with this deployment's models, limits and examples.

OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_to_lambda.runtime.common.errors import UndecodableImage
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.model.registry import Models

DESCRIPTION = Path(__file__).with_name("openapi.json")


def openapi(models: Models, settings: Settings) -> dict[str, Any]:
    """The description, with examples that this deployment answers."""
    described = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    components, names = described["components"], [*models.installed]
    schemas, option = components["schemas"], components["options"]["model"]
    option["enum"] = names
    if models.default:
        option["default"] = models.default
    schemas["Models"]["properties"]["default"]["enum"] = [*names, None]
    schemas["Predict"]["properties"]["images"]["anyOf"][0]["maxItems"] = settings.max_images
    sent = components["requestBodies"]["images"]["content"]
    sent |= {kind: {"schema": {}} for kind in MEDIA_TYPES.values()}
    scores = dict.fromkeys(models.installed[names[0]].card.labels[:3], 0.5)
    answer = described["paths"]["/predict"]["post"]["responses"]["200"]
    examples = answer["content"]["application/json"]["examples"]
    examples["one"]["value"] = scores
    failed = UndecodableImage("the image is damaged").to_json()
    examples["several"]["value"] = [scores, failed]
    made: dict[str, Any] = _resolved(described, components)
    made["components"] = {"schemas": made["components"]["schemas"]}
    return made


def _resolved(value: Any, components: dict[str, Any]) -> Any:
    """A part of the description without references, but for those to schemas."""
    if isinstance(value, list):
        return [_resolved(each, components) for each in value]
    if not isinstance(value, dict):
        return value
    kind, _, name = value.get("$ref", "").removeprefix("#/components/").partition("/")
    if name and kind != "schemas":
        return _resolved(components[kind][name], components)
    return {key: _resolved(each, components) for key, each in value.items()}
