"""What people do with the page, for tests and screenshots."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import JSHandle, Locator, Page, expect

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
T_SHIRT = SAMPLES / "t-shirt.jpg"
# A 3 in one stroke, in shares of the sheet.
THREE = [(0.32, 0.22), (0.47, 0.15), (0.63, 0.22), (0.63, 0.36), (0.45, 0.46), (0.63, 0.52),
         (0.70, 0.67), (0.58, 0.82), (0.42, 0.85), (0.29, 0.78)]  # fmt: skip


def best(page: Page) -> Locator:
    return page.locator(".best").first


def says(page: Page, label: str) -> None:
    expect(best(page)).to_contain_text(label)
    expect(page.locator("#status")).to_contain_text(label)


def give(page: Page, *files: Path) -> None:
    page.get_by_label("Choose photos").set_input_files(files)


def give_bytes(page: Page, name: str, content: bytes, kind: str = "") -> None:
    page.get_by_label("Choose photos").set_input_files(
        files=[{"name": name, "mimeType": kind, "buffer": content}]
    )


def padded(folder: Path, name: str, more: int = 8_000_000) -> Path:
    """The t-shirt with so many bytes after its end: too large for one request, quick to decode."""
    file = folder / name
    file.write_bytes(T_SHIRT.read_bytes() + bytes(more))
    return file


def ask(page: Page, address: str) -> None:
    page.get_by_label("Address of a photo").fill(address)
    page.keyboard.press("Enter")


def press(page: Page | Locator, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def sample(page: Page, name: str) -> None:
    press(page.locator("#samples"), name)


def choose(page: Page, model: str, against: str | None = None) -> None:
    page.get_by_role("combobox", name="Model").select_option(model)
    if against is not None:
        page.get_by_role("combobox", name="Compare with").select_option(against)


def draw(page: Page, points: Sequence[tuple[float, float]]) -> None:
    page.locator("#sheet").scroll_into_view_if_needed()
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()


def done(page: Page, entries: int) -> None:
    """Wait until every entry of the session has its answer."""
    expect(page.locator(".strip li")).to_have_count(entries)
    expect(page.locator(".strip em", has_text="…")).to_have_count(0)


def transfer(page: Page, *, files: Iterable[tuple[str, str, bytes]] = (), **texts: str) -> JSHandle:
    """A DataTransfer as a drop or a clipboard has it, made in the page."""
    contents = [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]
    script = """([files, texts]) => {
        const data = new DataTransfer();
        for (const [name, type, content] of files)
            data.items.add(
                new File([Uint8Array.from(atob(content), c => c.charCodeAt())], name, {type}));
        for (const [type, text] of Object.entries(texts)) data.setData(type, text);
        return data;
    }"""
    return page.evaluate_handle(script, [contents, texts])


def in_format(kind: str, **options: object) -> bytes:
    """The t-shirt as a file of another format."""
    file = io.BytesIO()
    with Image.open(T_SHIRT) as image:
        image.resize((150, 200)).save(file, kind, **options)
    return file.getvalue()


def saved(page: Page, name: str) -> Path:
    """The file that a button or link saves."""
    with page.expect_download() as download:
        press(page, name)
    return Path(download.value.path())


def sent(page: Page) -> Image.Image:
    """The picture that was sent, as it is saved."""
    return Image.open(io.BytesIO(saved(page, "Save what was sent").read_bytes()))
