// What a file is by its first bytes, and which way up a photo was taken.

const KINDS = [
  ["jpeg", /^\xff\xd8\xff/],
  ["png", /^\x89PNG\r\n/],
  ["gif", /^GIF8/],
  ["webp", /^RIFF[^]{4}WEBP/],
  ["bmp", /^BM/],
  ["avif", /^[^]{4}ftypavi[fs]/],
  ["heic", /^[^]{4}ftyp(hei|hev|mif|msf)/],
  ["tiff", /^(II\*\0|MM\0\*)/],
  ["pdf", /^%PDF/],
  ["svg", /^\s*(<\?xml[^]*?)?(<!--[^]*?-->\s*)*(<!DOCTYPE svg[^]*?)?<svg\b/i],
];

// The function reads these.
export const READ = ["jpeg", "png", "gif", "webp", "bmp"];

export async function kindOf(file) {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 2000).arrayBuffer()));
  return KINDS.find(([, pattern]) => pattern.test(head))?.[0] ?? "other";
}

// The EXIF orientation, 1 to 8, where 1 is upright; and the file without it, which every browser
// decodes as it is stored.
export async function orientationOf(file, kind) {
  const find = { jpeg: inJpeg, png: inPng, webp: inWebp }[kind];
  if (!find) return { orientation: 1, stored: file };
  const view = new DataView(await file.slice(0, 10_000_000).arrayBuffer());
  try {
    const at = find(view);
    const place = at && inTiff(view, at);
    const orientation = place ? view.getUint16(place, little(view, at)) : 1;
    if (orientation < 2 || orientation > 8) return { orientation: 1, stored: file };
    // A PNG's chunk goes as a whole, as it has a checksum.
    const [from, to] = kind === "png" ? [at - 8, at + view.getUint32(at - 8) + 4] : [place, place + 2];
    const upright = new Uint8Array(kind === "png" ? [] : little(view, at) ? [1, 0] : [0, 1]);
    return { orientation, stored: new Blob([file.slice(0, from), upright, file.slice(to)], { type: file.type }) };
  } catch (error) { // a part that ends before it should
    if (error instanceof RangeError) return { orientation: 1, stored: file };
    throw error;
  }
}

const EXIF = 0x45786966; // "Exif"

function inJpeg(view) {
  for (let at = 2; at + 10 < view.byteLength; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint16(at);
    if (marker === 0xffe1 && view.getUint32(at + 4) === EXIF) return at + 10;
    if (marker < 0xffc0 || marker === 0xffda) return 0;
  }
  return 0;
}

function inPng(view) {
  for (let at = 8; at + 12 < view.byteLength; at += 12 + view.getUint32(at))
    if (view.getUint32(at + 4) === 0x65584966) return at + 8; // "eXIf"
  return 0;
}

function inWebp(view) {
  for (let at = 12; at + 8 < view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (view.getUint32(at) === 0x45584946) return at + (view.getUint32(at + 8) === EXIF ? 14 : 8); // "EXIF"
    at += 8 + size + (size % 2);
  }
  return 0;
}

const little = (view, start) => view.getUint16(start) === 0x4949;

// Where the orientation is; 0: there is none.
function inTiff(view, start) {
  const table = start + view.getUint32(start + 4, little(view, start));
  const count = view.getUint16(table, little(view, start));
  for (let index = 0; index < count; index++) {
    const at = table + 2 + 12 * index;
    if (view.getUint16(at, little(view, start)) === 0x0112) return at + 8;
  }
  return 0;
}
