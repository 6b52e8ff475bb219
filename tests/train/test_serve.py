"""`k2l train ... --serve`: from arrays to a verified endpoint in one command."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
import time

import numpy as np
import requests
from PIL import Image

from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import train


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_perceptron_is_trained_converted_and_served_by_one_command(tmp_path):
    targets = np.arange(90) % 2
    noise = np.random.default_rng(7).integers(0, 96, (90, 28, 28))
    images = (160 * targets[:, np.newaxis, np.newaxis] + noise).astype(np.uint8)
    names = np.array(["dark", "light"])
    np.savez(tmp_path / "shades.npz", images=images, labels=targets, class_names=names)
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", "train", str(tmp_path / "shades.npz"), "-o",
         str(tmp_path / "shades"), "--model", "mlp", "--augment", "none", "--epochs", "6",
         "--track", "none", "--serve", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            try:
                requests.get(f"{url}/models", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.2)
        buffer = io.BytesIO()
        Image.fromarray(images[1]).save(buffer, "PNG")
        image = base64.b64encode(buffer.getvalue()).decode()
        answer = requests.post(f"{url}/predict", json={"image": image}, timeout=30).json()
    finally:
        server.terminate()
        server.wait()
    assert max(answer, key=answer.get) == "light"
    assert set(answer) == {"dark", "light"}
    assert cards.load(tmp_path / "shades" / "shades.tflite").verification["passed"] is True


def test_a_port_in_use_is_named_before_the_training(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert train.main([str(tmp_path), "--serve", str(port)]) == 2
    assert f"port {port} is not available: use --serve {port + 1}" in capsys.readouterr().err
