// Why: the original with the part that the model sees, what reached the model, and what mattered.

import { bytes, el, ms, number } from "./dom.js";

// The part of a picture that a card's preparation keeps, in shares; null: all of it.
function seenPart(card, width, height) {
  if (card.preprocessing.resize !== "crop") return null;
  const wanted = card.width / card.height, given = width / height;
  return given > wanted ? { x: (1 - wanted / given) / 2, y: 0, width: wanted / given, height: 1 }
    : { x: 0, y: (1 - given / wanted) / 2, width: 1, height: given / wanted };
}

export function evidence(entry, cards, deeds) {
  const { picture, results } = entry;
  const seen = cards.map((card) => [card, results.get(card.name)]).filter(([, result]) => result?.tensor);
  if (!picture.preview && !seen.length) return null;
  return el("section", { class: "why" }, seen.length > 0 && el("h3", {}, "Why"),
    sideways(picture, seen.map(([card]) => card), deeds),
    el("div", { class: "seen" }, original(entry, seen[0]?.[0] ?? cards[0], deeds),
      seen.map(([card, result]) => tensor(entry, card, result, cards[1]))),
    seen.map(([card, result]) => mattered(entry, card, result, deeds, cards[1])));
}

function sideways({ orientation, edit }, cards, deeds) {
  if (!(orientation > 1) || edit.upright || edit.turn || !cards.some(({ preprocessing }) => preprocessing.exif === "ignore")) return null;
  return el("div", { class: "notice row spread" },
    el("p", {}, "This photo carries a rotation that the model was trained to ignore: it sees the photo on its side."),
    el("button", { class: "primary", "data-key": "upright", onclick: deeds.upright }, "Turn it"));
}

function original(entry, card, deeds) {
  const { picture } = entry, { crop } = picture.edit;
  const editable = Boolean(picture.file) && card.preprocessing.drawing === "none" && !entry.results.get(card.name)?.final;
  const drawn = card.preprocessing.drawing !== "none";
  const frame = el("div", { class: "frame" });
  if (picture.preview) {
    const shade = el("div", { class: "cut", hidden: true });
    const image = el("img", { src: picture.preview, alt: `Your picture, ${picture.name}`, onload: () => {
      const turned = picture.orientation > 1 && card.preprocessing.exif === "ignore" && !picture.edit.upright;
      const part = crop ?? (drawn || turned ? null : seenPart(card, image.naturalWidth, image.naturalHeight));
      shade.hidden = !part;
      if (part) place(shade, part);
    }, onerror: () => frame.replaceChildren(el("p", {}, "No preview")) });
    const stage = el("div", { class: "stage" }, image, shade);
    if (editable && deeds.cropping) croppable(stage, shade, crop, deeds);
    frame.append(stage);
  } else frame.append(el("p", {}, "The picture is elsewhere; the model's view is beside it."));
  const link = /^https?:/i.test(picture.url ?? "") && el("a", { href: picture.url, target: "_blank", rel: "noreferrer noopener" }, "Open the original");
  const tools = editable && el("span", { class: "row" },
    el("button", { class: "small", "data-key": "turn", onclick: () => deeds.edit({ turn: (picture.edit.turn + 1) % 4, crop: null }) }, "Turn"),
    el("button", { class: "small", "data-key": "crop", "aria-pressed": String(Boolean(deeds.cropping)), onclick: deeds.startCrop }, "Crop"),
    (picture.edit.turn || crop) && el("button", { class: "small", "data-key": "reset", onclick: () => deeds.edit({ turn: 0, crop: null }) }, "Reset"));
  return el("figure", {}, frame, el("figcaption", {}, el("b", {}, picture.name),
    picture.notes.length > 0 && el("span", {}, ` · ${picture.notes.join(" · ")}`), link && [el("br"), link], tools,
    deeds.cropping && el("span", { class: "hint" }, "Drag over the picture; or move the frame with the arrow keys, resize it with + and −, and press Enter.")));
}

function place(shade, { x, y, width, height }) {
  const inset = [y, 1 - x - width, 1 - y - height, x].map((part) => `${Math.max(0, 100 * part)}%`);
  shade.style.inset = inset.join(" ");
}

// The frame follows the pointer or the keys; the answer follows when it is let go.
function croppable(stage, shade, crop, deeds) {
  let part = crop ?? { x: 0.1, y: 0.1, width: 0.8, height: 0.8 }, from = null;
  const show = () => {
    shade.hidden = false;
    place(shade, part);
  };
  const at = ({ clientX, clientY }) => {
    const box = stage.getBoundingClientRect();
    return [(clientX - box.x) / box.width, (clientY - box.y) / box.height].map((value) => Math.min(1, Math.max(0, value)));
  };
  stage.classList.add("cropping");
  stage.tabIndex = 0;
  stage.dataset.key = "stage";
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label", "Crop: arrow keys move the frame, plus and minus resize it, Enter applies it");
  stage.querySelector("img").addEventListener("load", () => setTimeout(show));
  stage.onpointerdown = (event) => {
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    from = at(event);
  };
  stage.onpointermove = (event) => {
    if (!from) return;
    const to = at(event);
    const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
    part = { x, y, width: Math.max(0.02, Math.abs(from[0] - to[0])), height: Math.max(0.02, Math.abs(from[1] - to[1])) };
    show();
  };
  stage.onpointerup = () => {
    if (from) deeds.edit({ crop: part });
    from = null;
  };
  stage.onkeydown = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") {
      event.preventDefault(); // nor may what gets the focus next be pressed
      return deeds.edit({ crop: part });
    }
    const grow = { "+": 0.05, "=": 0.05, "-": -0.05 }[event.key];
    if (!moves[event.key] && !grow) return;
    event.preventDefault();
    const size = (value) => Math.min(1, Math.max(0.1, value + (grow ?? 0)));
    const [dx, dy] = moves[event.key] ?? [0, 0];
    const [width, height] = [size(part.width), size(part.height)];
    const inside = (value, length) => Math.min(1 - length, Math.max(0, value));
    part = { x: inside(part.x + 0.05 * dx, width), y: inside(part.y + 0.05 * dy, height), width, height };
    show();
  };
}

function tensor(entry, card, { tensor: seen }, several) {
  const [height, width, channels] = seen.shape;
  const what = several ? `What ${card.name} saw` : "What the model saw";
  const map = entry.maps?.get(card.name);
  return el("figure", {}, el("div", { class: "frame" }, el("div", { class: "stage" },
    el("img", { class: "tensor", src: seen.image, width, height, alt: what }), map?.image && el("img", { class: "heat", src: map.image, alt: map.text }))),
    el("figcaption", {}, el("b", {}, what), ` · ${width} × ${height}, ${channels === 1 ? "grey" : "colour"}`));
}

function mattered(entry, card, result, deeds, several) {
  if (card.preprocessing.drawing !== "none") return null; // a covered drawing would be centred differently
  const map = entry.maps?.get(card.name), of = several ? ` for ${card.name}` : "";
  if (map?.error) return el("p", { class: "hint" }, `No map: ${map.error.title ?? map.error.message}`);
  if (map?.image) return el("p", { class: "hint" }, map.text);
  if (map) return el("p", { class: "hint", role: "status" }, map.progress);
  const cost = deeds.mapCost(card);
  return el("p", {}, el("button", { "data-key": `map ${card.name}`, onclick: () => deeds.map(card) }, `Show which parts mattered${of}`),
    el("span", { class: "hint" }, `Sends ${cost.pictures} copies with a part covered, in ${cost.requests} requests${cost.time}.`));
}

// What reached the model, in numbers, and the time that it took: for engineers.
const STAGES = ["fetch", "decode", "preprocess", "inference"];

export function details(entry, cards, open, opened) {
  const found = cards.map((card) => [card, entry.results.get(card.name)]).filter(([, result]) => result?.tensor);
  if (!found.length) return null;
  const [[, { times }]] = found;
  const facts = found.map(([card, { tensor: { shape, min, max, mean } }]) =>
    el("p", {}, `${cards[1] ? `${card.name}: ` : ""}tensor ${shape.join(" × ")}, values ${number(min)} to ${number(max)}, mean ${number(mean)}`));
  const done = STAGES.filter((stage) => times.parts[stage] >= 0.05).map((stage) => [stage, times.parts[stage]]);
  const rest = times.answer - done.reduce((sum, [, time]) => sum + time, 0);
  done.push(["network and gateway", Math.max(0, rest)]);
  if (times.upload > 20) done.unshift(["upload", times.upload]);
  return el("details", { open, ontoggle: ({ target }) => opened(target.open) }, el("summary", { "data-key": "details" }, "Details"),
    el("table", { class: "times" }, el("caption", {}, "Time"), el("tbody", {}, done.map(([stage, time]) =>
      el("tr", {}, el("th", { scope: "row" }, stage), el("td", {}, ms(time)))),
      el("tr", {}, el("th", { scope: "row" }, "all"), el("td", {}, ms(times.upload + times.answer))))),
    times.cold && el("p", {}, "This was a cold start: the function had been idle."), facts,
    entry.picture.blob && el("p", {}, `Sent: ${bytes(entry.picture.blob.size)}.`));
}
