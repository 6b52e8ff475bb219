"""template.yaml: valid, built by sam, and invoked by `sam local` through each of its ways."""

from __future__ import annotations

import base64
import json
import sys

import pytest

from tests.container.conftest import ROOT, container, get, post, run

EVENTS = sorted((ROOT / "events").glob("*-*.json"))
T_SHIRT = ROOT / "samples" / "t-shirt.jpg"


def close_to(scores):
    return pytest.approx(scores, rel=1e-3, abs=1e-4)


def test_the_template_is_valid_and_free_of_lint(sam):
    assert "is a valid SAM Template" in run(sam, "validate", "--lint").stdout


def test_sam_builds_the_image(sam_build):
    assert "ImageUri: classifier:latest" in sam_build.read_text("utf-8")


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_sam_local_invoke_answers_every_event_file(
    sam, sam_build, sam_env, path, read_event, local_scores
):
    event = read_event(path)
    answer = json.loads(
        run(sam, "local", "invoke", "-e", "-", "--env-vars", sam_env, input=event).stdout
    )

    if not path.stem.startswith("direct"):
        assert answer["statusCode"] == 200
        answer = json.loads(answer["body"])
    if path.stem.endswith("url") and "data" not in path.stem:
        image = T_SHIRT.read_bytes()
    else:
        direct = json.loads((ROOT / "events" / "direct-image.json").read_text("utf-8"))
        image = base64.b64decode(direct["image"])
    assert answer == close_to(local_scores(image))


def test_sam_local_invoke_reads_an_event_file_with_no_more_options(sam, sam_build):
    answer = json.loads(run(sam, "local", "invoke", "-e", "events/direct-image.json").stdout)

    assert "t-shirt" in answer


def test_sam_local_invoke_shows_a_named_error(sam, sam_build):
    answer = json.loads(run(sam, "local", "invoke", "-e", "-", input="{}").stdout)

    assert answer["errorType"] == "MissingImage"


def test_start_api_answers_a_url_in_json(start_api, image_host, local_scores):
    body = json.dumps({"url": f"http://{image_host}/t-shirt.jpg"}).encode()

    assert post(start_api, body) == (200, close_to(local_scores(T_SHIRT.read_bytes())))


def test_start_api_answers_the_image_as_the_body(start_api, local_scores):
    image = T_SHIRT.read_bytes()
    expected = local_scores(image)

    status, scores = post(start_api, image, "image/jpeg")

    assert status == 200
    assert scores == close_to(expected)
    assert max(scores, key=scores.get) == max(expected, key=expected.get)


def test_start_api_answers_a_bad_request_with_status_and_code(start_api):
    status, answer = post(start_api, b"{")

    assert status == 400
    assert answer["error"]["code"] == "invalid_json"


def test_start_api_serves_the_playground_and_what_it_needs(start_api, sam, sam_build):
    """Each file of the page as it is on disk, and the resources that its scripts ask for."""
    root = start_api.removesuffix("/predict")
    for path, file in {
        "/docs": "docs.html",
        "/static/style.css": "static/style.css",
        "/static/app.js": "static/app.js",
    }.items():
        body, headers = get(root + path)
        assert body == (ROOT / "web" / file).read_bytes()
        assert "default-src 'self'" in headers["content-security-policy"]
    for path, key in {"/models": "limits", "/samples": "digits", "/openapi.json": "paths"}.items():
        assert key in json.loads(get(root + path)[0])
    status, seen = post(f"{root}/tensor", T_SHIRT.read_bytes(), "image/jpeg")
    assert (status, seen["shape"]) == (200, [160, 160, 3])


def test_a_new_folder_is_built_and_invoked_as_it_is(docker, sam, tmp_path, local_scores):
    """Last here: it builds `classifier:latest` from another folder."""
    folder, model = tmp_path / "my-api", ROOT / "models" / "clothing" / "clothing.tflite"
    run(sys.executable, "-m", "keras_to_lambda", "new", folder, "--model", model)
    run(sam, "build", cwd=folder)
    event = folder / "events" / "direct-image.json"
    by_sam = json.loads(run(sam, "local", "invoke", "-e", event, cwd=folder).stdout)
    run(docker, "build", "--target", "function", "-t", "my-api:test", ".", cwd=folder)
    try:
        with container("my-api:test") as (_, url):
            by_docker = post(url, event.read_bytes())
    finally:
        run(docker, "rmi", "my-api:test")

    expected = close_to(local_scores(base64.b64decode(json.loads(event.read_text())["image"])))
    assert by_sam == expected
    assert by_docker == (200, expected)
