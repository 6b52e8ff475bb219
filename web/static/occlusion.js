// Which parts of a picture mattered: how far the answer falls when each is covered. The model's own
// view is covered, so that preparation changes nothing.

import { el, percent } from "./dom.js";
import { classify } from "./api.js";

const STEPS = 7; // places of the cover in each direction
const COVER = 2 / (STEPS + 1); // its share of a side: neighbours overlap by half
const QUALITY = 0.95;

export const cost = (limits) => ({
  pictures: STEPS * STEPS + 1,
  requests: Math.ceil((STEPS * STEPS + 1) / limits.images),
});

// progress(done, all): requests. Returns {image: a PNG's address, text}.
export async function occlusion(result, card, limits, progress) {
  const picture = new Image();
  picture.src = result.tensor.image;
  await picture.decode();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const canvas = el("canvas", { width, height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const spots = [null];
  for (let row = 0; row < STEPS; row++) for (let column = 0; column < STEPS; column++) spots.push([column, row]);
  const images = spots.map((spot) => {
    pen.drawImage(picture, 0, 0);
    if (spot) {
      pen.fillStyle = "#808080";
      pen.fillRect((spot[0] * COVER * width) / 2, (spot[1] * COVER * height) / 2, COVER * width, COVER * height);
    }
    return canvas.toDataURL("image/jpeg", QUALITY).split(",")[1];
  });
  const answers = [], all = Math.ceil(images.length / limits.images);
  while (answers.length < images.length) {
    progress(Math.ceil(answers.length / limits.images), all);
    answers.push(...(await classify(images.slice(answers.length, answers.length + limits.images), card)));
  }
  const best = result.order[0];
  const [whole, ...covered] = answers.map(({ probabilities }) => probabilities[best]);
  const falls = covered.map((share) => Math.max(0, whole - share));
  const most = Math.max(...falls), at = falls.indexOf(most);
  const across = ["left", "centre", "right"][Math.floor(((at % STEPS) * 3) / STEPS)];
  const down = ["top", "middle", "bottom"][Math.floor((Math.floor(at / STEPS) * 3) / STEPS)];
  const text = most < 0.02 ? `No single part mattered: covering any of them changes “${card.labels[best]}” by less than 2 points.`
    : `Red parts mattered most for “${card.labels[best]}”: covering the ${down} ${across} takes it from ${percent(whole)} to ${percent(covered[at])}.`;
  return { image: painted(falls, Math.max(most, 0.02)), text };
}

// Each cell of the finer grid is the mean of the covers over it.
function painted(falls, most) {
  const size = STEPS + 1;
  const canvas = el("canvas", { width: size, height: size });
  const pen = canvas.getContext("2d");
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
    const over = [];
    for (const row of [y - 1, y]) for (const column of [x - 1, x])
      if (row >= 0 && row < STEPS && column >= 0 && column < STEPS) over.push(falls[row * STEPS + column]);
    const mean = over.reduce((a, b) => a + b, 0) / over.length;
    pen.fillStyle = `rgba(255, 30, 30, ${(0.75 * mean) / most})`;
    pen.fillRect(x, y, 1, 1);
  }
  return canvas.toDataURL();
}
