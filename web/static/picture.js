// Picture: an image on its way to the function, as a file's bytes or an address.
//   name, blob or url; preview: an address that the browser shows, or null
//   notes: what was done to it; own: the bytes are the user's own file
//   file, kind, orientation: of that file; edit: {turn, crop}; exact: bytes must stay as they are

import { Failure } from "./errors.js";
import { READ, kindOf, orientationOf } from "./file_kind.js";
import { bytes } from "./dom.js";

const SCALED_TO = 2048; // pixels of the longer side: many times what models look at
const HEADERS = 20_000; // of an event, beside the image
const PREVIEW = 1024;
const UNTOUCHED = { turn: 0, crop: null };

export const previewOf = (blob) => URL.createObjectURL(blob);

export function forget(picture) {
  if (picture?.preview?.startsWith("blob:")) URL.revokeObjectURL(picture.preview);
}

export const fromBlob = (blob, name, preview = null) =>
  ({ name, blob, preview: preview ?? previewOf(blob), notes: [], own: false, edit: UNTOUCHED });

// An address: of a picture elsewhere, or one that holds the picture itself.
export function fromUrl(url) {
  if (!url.startsWith("data:")) return { name: shortName(url), url, preview: null, notes: [], edit: UNTOUCHED };
  const type = url.slice(5, url.search(/[;,]/));
  return fromDataUrl(url, `picture.${type.split("/")[1]?.replace("jpeg", "jpg") || "bin"}`);
}

export function fromDataUrl(url, name) {
  const type = url.slice(5, url.indexOf(";"));
  const file = new File([Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt())], name, { type });
  return { ...fromBlob(file, name), file, orientation: 1 };
}

// The address in a text that was typed or pasted, completed; null if it is none.
export function addressIn(text) {
  const given = text.trim();
  if (/^(https?|s3):\/\/\S+$/i.test(given) || /^data:image\/[\w.+-]+;base64,\S+$/i.test(given)) return given;
  if (/^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(:\d+)?\/\S+$/i.test(given)) return `https://${given}`;
  return null;
}

// A file, as the function can take it; whatever the browser can show is made into that.
// how: {limits, exact, side: pixels at most}
export async function fromFile(file, how, edit = UNTOUCHED) {
  const name = file.name || "pasted.png";
  const kind = await kindOf(file);
  const { orientation, stored } = await orientationOf(file, kind);
  const base = { name, file, kind, orientation, edit, notes: [] };
  const most = Math.min(Math.floor((how.limits.event_bytes * 3) / 4) - HEADERS, how.limits.image_bytes);
  const edited = edit.turn !== 0 || edit.crop || edit.upright;
  const sound = READ.includes(kind) || file.size === 0;
  if (!edited && !how.side && (how.exact || (sound && file.size <= most)))
    return { ...base, blob: file, preview: await previewFor(base, stored), own: true, notes: [bytes(file.size)] };
  // Unedited pixels stay as they were stored, with their orientation beside them: models differ in
  // whether they apply it.
  const asStored = orientation > 1 && !edited;
  const lossless = kind !== "jpeg" && kind !== "avif" && file.size <= most && !asStored;
  let made;
  try {
    const source = kind === "svg" ? await drawnSvg(file) : stored;
    made = await encoded(source, {
      ...edit, orientation: asStored ? 1 : orientation, most, side: how.side ?? SCALED_TO,
      type: lossless ? "image/png" : "image/jpeg", quality: edited ? 0.95 : 0.92,
    });
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw Failure.unreadable(kind);
  }
  const { width, height, from } = made;
  const blob = asStored ? oriented(made.blob, orientation) : made.blob;
  const notes = [`${from[0]} × ${from[1]}, ${bytes(file.size)}`];
  if (!sound) notes.push(`${kind === "other" ? "an uncommon format" : kind.toUpperCase()}, converted here`);
  if (edit.upright) notes.push("turned upright here");
  if (edit.turn) notes.push(`turned by ${90 * edit.turn}° here`);
  if (edit.crop) notes.push("cropped here");
  notes.push(`sent as ${width} × ${height}, ${bytes(blob.size)}`);
  const marks = [edit.upright && "upright", edit.turn && `turned${90 * edit.turn}`, edit.crop && "crop", Math.max(width, height)];
  const sent = `${name.replace(/\.\w+$/, "")}-${marks.filter(Boolean).join("-")}.${blob.type === "image/png" ? "png" : "jpg"}`;
  return { ...base, name: sent, blob, preview: await previewFor(base, stored), own: false, notes };
}

// Of the whole picture, upright: browsers turn JPEG files, and not all others.
async function previewFor({ file, kind, orientation, edit: { turn } }, stored) {
  if (!turn && (orientation === 1 || kind === "jpeg")) return previewOf(file);
  try {
    return previewOf((await encoded(stored, { orientation, turn, side: PREVIEW, type: "image/jpeg" })).blob);
  } catch {
    return previewOf(file);
  }
}

// A JPEG file with an EXIF part that has the orientation alone.
function oriented(blob, orientation) {
  const exif = [0xff, 0xe1, 0, 34, ...[..."Exif"].map((letter) => letter.charCodeAt()), 0, 0, 0x4d, 0x4d, 0, 42, 0, 0, 0, 8,
    0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];
  return new Blob([blob.slice(0, 2), new Uint8Array(exif), blob.slice(2)], { type: "image/jpeg" });
}

// Only an img element draws these.
async function drawnSvg(file) {
  const image = new Image();
  image.src = previewOf(new Blob([file], { type: "image/svg+xml" }));
  try {
    await image.decode();
    const scale = 512 / Math.max(image.naturalWidth, image.naturalHeight, 1);
    const [resizeWidth, resizeHeight] = [image.naturalWidth, image.naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
    return await createImageBitmap(image, { resizeWidth, resizeHeight });
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

// The worker, started when it is first needed.
let worker = null, asked = new Map(), count = 0;

function encoded(source, how) {
  worker ??= started();
  return new Promise((resolve, reject) => {
    asked.set(++count, { resolve, reject });
    worker.postMessage({ id: count, source, most: Infinity, ...how }, source instanceof Blob ? [] : [source]);
  });
}

function started() {
  const made = new Worker(new URL("static/preparer.js", document.baseURI), { type: "module" });
  made.onmessage = ({ data: { id, fault, ...result } }) => {
    const { resolve, reject } = asked.get(id);
    asked.delete(id);
    fault ? reject(new Error(fault)) : resolve(result);
  };
  made.onerror = () => { // it could not be loaded
    for (const { reject } of asked.values()) reject(Failure.offline());
    asked = new Map();
    worker = null;
  };
  return made;
}

function shortName(url) {
  const { host, pathname } = new URL(url);
  try {
    return decodeURIComponent(pathname.split("/").pop()) || host;
  } catch { // "%" that encodes nothing
    return pathname.split("/").pop();
  }
}
