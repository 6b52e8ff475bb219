"""python -m tests.events_of_models: renew the answer of GET /models in tests/events."""

from __future__ import annotations

import json
from pathlib import Path

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler

EVENT = Path(__file__).resolve().parent / "events" / "http-api-models.json"

if __name__ == "__main__":
    golden = json.loads(EVENT.read_text(encoding="utf-8"))
    answer = Handler(Settings.from_environ({"LOG_LEVEL": "FATAL"})).handle(golden["event"])
    golden["answer"]["body"] = json.loads(answer["body"])
    EVENT.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
