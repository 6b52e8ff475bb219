// A worker: decodes a picture, turns, crops and scales it, and encodes it again; one after another.

let last = Promise.resolve();

addEventListener("message", ({ data: { id, source, ...how } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, ...(await prepared(source, how)) });
    } catch (error) {
      postMessage({ id, fault: String(error.message ?? error) });
    }
  });
});

// Quarter turns to the right, and whether it is mirrored before, by EXIF orientation.
const ORIENTATIONS = { 1: [0, false], 2: [0, true], 3: [2, false], 4: [2, true], 5: [3, true], 6: [1, false], 7: [1, true], 8: [3, false] };

// source: a blob or a bitmap. orientation: to be applied to the pixels as they are stored. turn:
// more quarter turns. crop: {x, y, width, height} in shares of the turned picture. side: pixels, of
// the longer one.
async function prepared(source, { orientation = 1, turn: more = 0, crop, side, type, most, quality = 0.92 }) {
  const bitmap = source instanceof Blob ? await createImageBitmap(source) : source;
  const { width, height } = bitmap;
  const [first, mirrored] = ORIENTATIONS[orientation];
  const turn = (first + more) % 4;
  const [across, down] = turn % 2 ? [height, width] : [width, height];
  const part = crop ?? { x: 0, y: 0, width: 1, height: 1 };
  const [partWidth, partHeight] = [across * part.width, down * part.height];
  const scale = Math.min(1, side / Math.max(partWidth, partHeight));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(partWidth * scale)), Math.max(1, Math.round(partHeight * scale)));
  const pen = canvas.getContext("2d");
  const draw = (background) => {
    pen.resetTransform();
    if (background) {
      pen.fillStyle = background;
      pen.fillRect(0, 0, canvas.width, canvas.height);
    }
    pen.imageSmoothingQuality = "high";
    pen.scale(canvas.width / partWidth, canvas.height / partHeight);
    pen.translate(across / 2 - across * part.x, down / 2 - down * part.y);
    pen.rotate((turn * Math.PI) / 2);
    if (mirrored) pen.scale(-1, 1);
    pen.drawImage(bitmap, -width / 2, -height / 2);
  };
  draw(type === "image/jpeg" && "#fff");
  let blob = await canvas.convertToBlob({ type, quality });
  if (blob.size > most) {
    draw("#fff");
    blob = await canvas.convertToBlob({ type: "image/jpeg", quality });
  }
  bitmap.close();
  return { blob, width: canvas.width, height: canvas.height, from: [width, height] };
}
