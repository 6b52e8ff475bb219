// The playground: images come in, each becomes an entry of this session, and is asked about.

import { $, el, percent } from "./dom.js";
import { get, predict, tensor } from "./api.js";
import { about, detail, failure, sight } from "./detail.js";
import { Failure } from "./errors.js";
import { fromBlob, fromDataUrl, fromFile, fromUrl, toBlob } from "./picture.js";
import { Sheet } from "./sheet.js";

const ASKED_ANEW = 40; // entries, when another model is chosen
const AT_ONCE = 3; // requests; a function answers one at a time, and each more is another cold start

const query = new URLSearchParams(location.search);
const view = { bars: "probabilities", top: 5 };
const entries = []; // newest first
let limits, models = new Map(), selected = null, drawing = null, waiting = [], running = 0, batch = [];

const card = () => models.get($("#model").value);
const rival = () => models.get($("#compare").value);
const shown = () => [card(), rival()].filter((each, at, all) => each && all.indexOf(each) === at);

// Requests, in turn.
const inTurn = (work) => new Promise((resolve) => {
  waiting.push(async () => resolve(await work()));
  next();
});

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  running++;
  await waiting.shift()();
  running--;
  next();
}

// What an entry lacks for what is shown is asked for; what was asked before is kept. What the model
// saw comes second, and of an image that it could see.
function ensure(entry) {
  for (const each of shown()) {
    fill(entry, entry.results, each, predict);
    if (entry === selected && entry.results.get(each.name).order) fill(entry, entry.tensors, each, tensor);
  }
}

async function fill(entry, map, model, ask) {
  if (map.has(model.name)) return;
  const current = () => map === entry.results || map === entry.tensors; // not drawn on since
  const work = entry.picture.failed ? Promise.resolve(entry.picture.failed)
    : inTurn(() => current() ? ask(entry.picture, model).catch((error) => error) : null);
  map.set(model.name, work);
  const answer = await work;
  if (!current()) return;
  if (answer instanceof Error && ask === tensor) map.delete(model.name); // the answer tells of it
  else map.set(model.name, answer);
  if (ask === tensor) return void (entry === selected && $(".seen").replaceWith(sight(entry, shown())));
  tell(entry);
  ensure(entry);
  render(entry);
}

// What the chosen model says, once it has said it: the other one's answer may come first.
function tell(entry) {
  const result = entry.results.get(card().name);
  if (result instanceof Promise) return;
  const done = batch.filter((each) => ![...each.results.values()].some((result) => result instanceof Promise)).length;
  const best = result.order?.[0];
  const text = result instanceof Error ? result.title : `${result.labels[best]}, ${percent(result.probabilities[best])}`;
  if (entry === drawing) $("#live").textContent = text;
  $("#status").textContent = batch[1] ? `${done} of ${batch.length} classified` : `${entry.picture.name}: ${text}`;
}

function render(entry = selected) {
  if (entry) renderChip(entry);
  if (entry !== selected) return;
  $("#empty").hidden = Boolean(selected);
  $("#view").hidden = $("#history").hidden = !selected;
  $("#detail").replaceChildren(...(selected ? [detail(selected, shown(), view, again)] : []));
}

const blank = (text) => el("span", { class: "none", "aria-hidden": "true" }, text);

function renderChip(entry) {
  const [result, other] = shown().map((each) => entry.results.get(each.name));
  const { preview, name } = entry.picture;
  const best = (each) => each?.order && each.labels[each.order[0]];
  const apart = best(other) && best(other) !== best(result) ? ` / ${best(other)}` : "";
  const bad = result instanceof Error;
  const said = el("em", { class: bad && "bad" }, bad ? result.title : best(result) ? best(result) + apart : "…");
  const share = best(result) ? percent(result.probabilities[result.order[0]]) : name;
  const button = el("button", { "aria-current": String(entry === selected), title: name, onclick: () => select(entry) },
    preview ? el("img", { src: preview, alt: "", onerror: ({ target }) => target.replaceWith(blank("?")) }) : blank("URL"),
    el("span", {}, el("span", { class: "sr" }, `${name}: `), said, share));
  const focused = entry.chip.contains(document.activeElement);
  entry.chip.replaceChildren(button);
  if (focused) button.focus();
}

function again() {
  for (const [name, result] of selected.results) if (result instanceof Error) selected.results.delete(name);
  select(selected);
}

function select(entry) {
  const before = selected;
  selected = entry;
  if (before && before !== entry) renderChip(before);
  ensure(entry);
  render();
}

function add(picture) {
  const entry = { picture, results: new Map(), tensors: new Map(), chip: el("li") };
  entries.unshift(entry);
  $(".strip").prepend(entry.chip);
  return entry;
}

// Several at once: the first is looked at, all are asked about.
function addAll(pictures) {
  if (!pictures.length) return;
  batch = pictures.reverse().map(add).reverse();
  select(batch[0]);
  for (const entry of batch) {
    ensure(entry);
    renderChip(entry);
  }
}

async function addFiles(files) {
  const how = { limits, exif: card().preprocessing.exif, exact: $("#exact").checked };
  const pictures = [];
  for (const file of files) {
    try {
      pictures.push(await fromFile(file, how));
    } catch (failed) {
      pictures.push({ name: file.name, blob: file, preview: null, note: "", failed });
    }
  }
  addAll(pictures);
  reveal();
}

function addText(text) {
  if (!text.trim()) return;
  addAll([fromUrl(text.trim())]);
  reveal();
}

// A drawing is one entry until the sheet is cleared; each stroke asks anew.
async function drawn() {
  if (sheet.blank) return void (drawing = null);
  // As it is drawn: the function centres it, for every client alike.
  const picture = fromBlob(await toBlob(sheet.ink, "image/png"), "drawing.png", "", sheet.ink.toDataURL());
  if (!drawing) drawing = add(picture);
  batch = [drawing];
  Object.assign(drawing, { picture, results: new Map(), tensors: new Map() });
  select(drawing);
}

function choose() {
  $("#draw").hidden = !shown().some((each) => each.preprocessing.drawing === "mnist");
  for (const [name, value] of [["model", $("#model").value], ["compare", $("#compare").value]])
    value ? query.set(name, value) : query.delete(name);
  history.replaceState(null, "", `?${query}`);
  about(card());
  samples();
  entries.slice(0, ASKED_ANEW).forEach(ensure);
  entries.forEach(renderChip);
  if (selected) select(selected);
}

let gallery = null;
async function samples() {
  gallery ??= get("samples").then(({ answer }) => answer, () => ({}));
  const all = await gallery, model = card();
  // Another model of the same labels may have some.
  const alike = [model, ...models.values()].filter(({ labels }) => String(labels) === String(model.labels));
  const own = alike.map(({ name }) => all[name]).find((found) => found?.length) ?? [];
  $("#samples").hidden = !own.length;
  const pick = (...chosen) => {
    addAll(chosen.map(({ name, image }) => fromDataUrl(image, name)));
    reveal();
  };
  $("#try-all").onclick = () => pick(...own);
  $("#samples .thumbs").replaceChildren(...own.map((one) =>
    el("button", { title: one.name, onclick: () => pick(one) }, el("img", { src: one.image, alt: one.name }))));
}

// On a phone the answer is below what was tapped.
function reveal() {
  const { top } = $("#results").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) $("#results").scrollIntoView();
}

function listen() {
  for (const name of ["#model", "#compare"]) $(name).addEventListener("change", choose);
  $("#file").addEventListener("change", async ({ target }) => {
    await addFiles([...target.files]);
    target.value = "";
  });
  $("#camera").addEventListener("click", async () => {
    const { takePhoto } = await import("./camera.js");
    const photo = await takePhoto();
    if (photo) addFiles([new File([photo], "camera.jpg", { type: "image/jpeg" })]);
  });
  $("#address").addEventListener("submit", (event) => {
    event.preventDefault();
    addText($("#url").value);
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files);
    else if (!/INPUT|TEXTAREA/.test(event.target.tagName)) addText(event.clipboardData.getData("text"));
  });
  listenToDrops();
  sheet = new Sheet($("#sheet"), drawn);
  const tool = (erasing) => {
    sheet.erasing = erasing;
    $("#brush").setAttribute("aria-pressed", !erasing);
    $("#eraser").setAttribute("aria-pressed", erasing);
  };
  $("#brush").addEventListener("click", () => tool(false));
  $("#eraser").addEventListener("click", () => tool(true));
  $("#width").addEventListener("input", ({ target }) => (sheet.width = Number(target.value)));
  $("#clear").addEventListener("click", () => sheet.clear());
  $("#forget").addEventListener("click", () => {
    for (const { picture } of entries.splice(0)) [picture.preview, picture.sent].forEach(URL.revokeObjectURL);
    [waiting, batch, selected, drawing] = [[], [], null, null];
    $("#live").textContent = "";
    $(".strip").replaceChildren();
    render();
    $("#results").focus();
  });
  $("#top").addEventListener("change", ({ target }) => {
    view.top = Number(target.value);
    render();
  });
  for (const button of document.querySelectorAll("#bars button")) button.addEventListener("click", () => {
    view.bars = button.value;
    for (const each of document.querySelectorAll("#bars button")) each.setAttribute("aria-pressed", each === button);
    render();
  });
}
let sheet;

function listenToDrops() {
  let depth = 0; // dragenter and dragleave come for every element that is crossed
  const over = (by) => $("#drop").classList.toggle("over", (depth = Math.max(0, depth + by)) > 0);
  addEventListener("dragenter", () => over(1));
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    const { files } = event.dataTransfer;
    if (files.length) addFiles([...files]);
    else addText(event.dataTransfer.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#")) ?? "");
  });
}

async function start() {
  const { answer } = await get("models");
  limits = answer.limits;
  models = new Map(answer.models.map((each) => [each.name, each]));
  const option = (value, text = value) => el("option", { value }, text);
  const names = [...models.keys()];
  $("#model").append(...names.map((each) => option(each)));
  $("#compare").append(option("", "nothing"), ...names.map((each) => option(each)));
  const asked = (key) => models.has(query.get(key)) && query.get(key);
  $("#model").value = asked("model") || answer.default || names[0];
  $("#compare").value = asked("compare") || "";
  $("#compare").closest("label").hidden = models.size < 2;
  listen();
  choose();
  document.body.dataset.ready = "true";
}

start().catch((error) => {
  const ours = error instanceof Failure;
  $("#empty").replaceChildren(failure(ours ? error : new Failure("page", "The page does not work", "Reload it.", error.message)));
});
