// Picture: an image on its way to the function, as a file's bytes or an address.

import { Failure } from "./errors.js";
import { bytes, el } from "./dom.js";

const SCALED_TO = 2048; // pixels of the longer side: many times what any model here looks at
const HEADERS = 20_000; // of an event, beside the image

export const toBlob = (sheet, type, quality) => new Promise((resolve) => sheet.toBlob(resolve, type, quality));

// {name, blob or url, preview, note}; a blob's preview is to be revoked when it is forgotten.
export function fromUrl(url) {
  const data = url.startsWith("data:");
  return { name: data ? "data: URL" : shortName(url), url, preview: data && url, note: "" };
}

export const fromBlob = (blob, name, note = "", preview = null) =>
  ({ name, blob, preview: preview ?? URL.createObjectURL(blob), note });

export function fromDataUrl(url, name) {
  const type = url.slice(5, url.indexOf(";"));
  const blob = new Blob([Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt())], { type });
  return fromBlob(blob, `${name}-sample.${type === "image/png" ? "png" : "jpg"}`);
}

// A file, scaled down if the function could not take it.
export async function fromFile(file, { limits, exif, exact }) {
  const name = file.name || "pasted.png";
  const most = Math.min(Math.floor((limits.event_bytes * 3) / 4) - HEADERS, limits.image_bytes);
  if (exact || file.size <= most) return fromBlob(file, name, bytes(file.size));
  const { sheet, width, height } = await drawn(exif === "apply" ? file : await stripped(file));
  const blob = await toBlob(sheet, "image/jpeg", 0.92);
  const note = `${bytes(file.size)}, ${width} × ${height}; scaled here to ${sheet.width} × ${sheet.height}, ${bytes(blob.size)}`;
  return fromBlob(blob, renamed(name, "jpg"), note);
}

async function drawn(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw Failure.unreadable();
  }
  const { width, height } = bitmap;
  const scale = Math.min(1, SCALED_TO / Math.max(width, height));
  const [across, down] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const sheet = el("canvas", { width: across, height: down });
  const pen = sheet.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, sheet.width, sheet.height);
  bitmap.close();
  return { sheet, width, height };
}

// A JPEG file without its EXIF part, for a model that ignores the orientation (its card's `exif`):
// browsers apply it.
async function stripped(file) {
  const head = new DataView(await file.slice(0, 200_000).arrayBuffer());
  if (head.byteLength < 4 || head.getUint16(0) !== 0xffd8) return file;
  for (let at = 2; at + 10 < head.byteLength; ) {
    const [marker, length] = [head.getUint16(at), head.getUint16(at + 2)];
    if (marker === 0xffe1 && head.getUint32(at + 4) === 0x45786966) // "Exif"
      return new Blob([file.slice(0, at), file.slice(at + 2 + length)], { type: "image/jpeg" });
    if (marker < 0xffe0 || marker > 0xffef) return file;
    at += 2 + length;
  }
  return file;
}

const renamed = (name, extension) => name.replace(/\.\w+$/, "") + "." + extension;

function shortName(url) {
  try {
    const { host, pathname } = new URL(url);
    return decodeURIComponent(pathname.split("/").pop()) || host;
  } catch {
    return url;
  }
}
