// As MNIST's digits were made: the ink's box scaled to fit 20 of 28 pixels, then put where its centre
// of mass is in the middle (http://yann.lecun.com/exdb/mnist/). For other input sizes in proportion.

const INNER = 20 / 28;

// values: 0..255, light ink on 0, `width` a row. Returns size x size bytes, or null for a blank sheet.
export function centred(values, width, size) {
  const height = values.length / width;
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (values[y * width + x] > 0) {
        left = Math.min(left, x); right = Math.max(right, x);
        top = Math.min(top, y); bottom = Math.max(bottom, y);
      }
  if (right < 0) return null;
  const box = { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
  const scale = Math.round(INNER * size) / Math.max(box.width, box.height);
  const small = shrunk(values, width, box, Math.max(1, Math.round(box.width * scale)), Math.max(1, Math.round(box.height * scale)));
  let [mass, x, y] = [0, 0, 0];
  small.values.forEach((value, at) => {
    mass += value;
    x += value * ((at % small.width) + 0.5);
    y += value * (Math.floor(at / small.width) + 0.5);
  });
  const place = (middle, side) => Math.min(Math.max(Math.round(size / 2 - middle), 0), size - side);
  const [startX, startY] = [place(x / mass, small.width), place(y / mass, small.height)];
  const whole = new Uint8ClampedArray(size * size);
  small.values.forEach((value, at) => {
    whole[(startY + Math.floor(at / small.width)) * size + startX + (at % small.width)] = value;
  });
  return whole;
}

// Each new pixel is the mean of the area that it covers.
function shrunk(values, stride, box, width, height) {
  const across = overlaps(box.width, width), down = overlaps(box.height, height);
  const result = new Float64Array(width * height);
  down.forEach((rows, y) => across.forEach((columns, x) => {
    let sum = 0;
    for (const [row, share] of rows)
      for (const [column, part] of columns) sum += share * part * values[(box.y + row) * stride + box.x + column];
    result[y * width + x] = sum;
  }));
  return { values: result, width, height };
}

function overlaps(from, to) {
  const step = from / to;
  return Array.from({ length: to }, (_, index) => {
    const [start, end] = [index * step, (index + 1) * step];
    const shares = [];
    for (let at = Math.floor(start); at < Math.min(Math.ceil(end), from); at++)
      shares.push([at, (Math.min(end, at + 1) - Math.max(start, at)) / step]);
    return shares;
  });
}

// A photo of a digit on paper as light ink on 0: how far each pixel is from the border's median,
// where that is more than a quarter of the farthest.
export function ink(grey, width) {
  const height = grey.length / width;
  const border = grey.filter((_, at) => at < width || at >= width * (height - 1) || at % width === 0 || at % width === width - 1);
  const paper = border.sort()[border.length >> 1];
  const far = grey.map((value) => Math.abs(value - paper));
  const farthest = far.reduce((a, b) => Math.max(a, b), 0);
  return farthest < 32 ? far.fill(0) : far.map((value) => (value * 4 < farthest ? 0 : (value * 255) / farthest));
}
