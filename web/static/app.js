// The playground: pictures come in, each becomes an entry of the session, and models answer.

import { $, announce, bytes, el, percent, save } from "./dom.js";
import { apiKey, get, look } from "./api.js";
import { answers, failure, judgement } from "./answer.js";
import { openCamera } from "./camera.js";
import { details, evidence } from "./evidence.js";
import { Failure } from "./errors.js";
import { asPage } from "./keep.js";
import { showFacts } from "./model_facts.js";
import { cost, occlusion } from "./occlusion.js";
import { addressIn, forget, fromBlob, fromDataUrl, fromFile, fromUrl, previewOf } from "./picture.js";
import { requestAsCode } from "./request_code.js";
import { Session } from "./session.js";
import { Sheet } from "./sheet.js";
import { opened } from "./store.js";

const ASKED_AGAIN = 40; // entries, when another model is chosen
const AT_ONCE = 3; // requests; a function answers one at a time, and each more is another cold start
const SLOW_S = 6; // uploads that take longer can be made smaller
const SMALL = 3; // times the model's input

const query = new URLSearchParams(location.search);
const view = { bars: query.get("bars") === "logits" ? "logits" : "probabilities", top: Number(query.get("top") ?? 5), find: "", details: false, cropping: false, focusAnswer: false };
const models = new Map();
let limits, session, sheet, drawing = null, batch = [], preparing = Promise.resolve();
const waiting = []; // requests
let running = 0;

const card = () => models.get($("#model").value);
const rival = () => models.get($("#compare").value);
const shown = () => [card(), rival()].filter((each, at, all) => each && all.indexOf(each) === at);

// Requests, in turn.
function inTurn(work) {
  waiting.push(work);
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  running++;
  await waiting.shift()();
  running--;
  next();
}

// What an entry lacks for what is shown is asked for, all models in one request.
function ensure(entry) {
  if (entry.gone || entry.picture.preparing) return;
  const { results, picture } = entry;
  const missing = shown().filter(({ name }) => !results.has(name));
  if (!missing.length) return;
  for (const { name } of missing) results.set(name, picture.failed ?? { pending: true });
  if (picture.failed) return answered(entry, results);
  const controller = (entry.controller = new AbortController());
  inTurn(async () => {
    const current = () => !entry.gone && entry.results === results;
    if (!current()) return;
    try {
      const found = await look(picture, missing, { progress: (state) => current() && sending(entry, state), signal: controller.signal });
      for (const [name, result] of found) results.set(name, result);
    } catch (error) {
      if (error.name === "AbortError") return;
      for (const { name } of missing) results.set(name, error instanceof Failure ? error : Failure.page(error));
    }
    if (current()) answered(entry, results);
  });
}

// A progress bar moves in place: what has the focus stays.
function sending(entry, { sent, total, time }) {
  const left = sent < total ? Math.round((time * (total - sent)) / sent / 1000) : 0;
  const slow = time > 700 && left > SLOW_S && entry.picture.file ? Math.round(left) : null;
  const text = sent < total ? `Sending ${bytes(sent)} of ${bytes(total)} …` : "The model is working …";
  const before = entry.progress;
  entry.progress = { text, share: sent < total ? sent / total : undefined, slow };
  if (entry !== session.selected) return;
  if (Boolean(before?.slow) !== Boolean(slow)) return render();
  for (const each of document.querySelectorAll("#detail .wait")) {
    each.querySelector("p").textContent = text;
    const bar = each.querySelector("progress");
    sent < total ? bar.setAttribute("value", sent / total) : bar.removeAttribute("value");
  }
}

function answered(entry, results) {
  entry.progress = null;
  const text = summary(entry);
  const done = batch.filter((each) => !session.marks(each).waiting);
  const failed = batch.filter((each) => session.marks(each).failed).length;
  if (entry === drawing) $("#live").textContent = text;
  if (batch.length > 1 && batch.includes(entry))
    announce(`${done.length - failed} of ${batch.length} classified${failed ? `, ${failed} failed` : ""}`);
  else if (entry === session.selected) announce(`${entry.picture.name}: ${text}`);
  if (results === entry.results) session.keep(entry);
  ensure(entry);
  session.refresh();
  if (entry === session.selected) render();
}

function summary(entry) {
  const result = entry.results.get(card().name);
  if (result instanceof Error) return result.title;
  return result?.order ? `${card().labels[result.order[0]]}, ${percent(result.probabilities[result.order[0]])}` : "waiting";
}

// The selected entry. What had the focus has it afterwards.
function render() {
  const entry = session.selected;
  const key = $("#detail").contains(document.activeElement) && document.activeElement.dataset.key;
  $("#empty").hidden = Boolean(entry);
  $("#skip").hidden = !entry;
  $("#detail").replaceChildren(...(entry ? [article(entry)] : []));
  const answer = $("#detail h2"), same = key && $(`#detail [data-key="${key}"]`);
  if (same) same.focus({ preventScroll: true });
  else if (key && !answer) { // what had the focus is gone: the answer gets it when it comes
    view.focusAnswer = true;
    $("#results").focus({ preventScroll: true });
  } else if (key || (view.focusAnswer && answer && [document.body, $("#results")].includes(document.activeElement))) {
    view.focusAnswer = false;
    answer.focus({ preventScroll: true });
  }
}

function article(entry) {
  const cards = shown(), { picture } = entry, deeds = deedsFor(entry);
  const failed = cards.every(({ name }) => entry.results.get(name) instanceof Error);
  const ready = cards.some(({ name }) => entry.results.get(name)?.order);
  return el("article", { class: "card", "aria-label": picture.name },
    answers(entry, cards, view, deeds), judgement(entry, card(), deeds), evidence(entry, cards, deeds),
    details(entry, cards, view.details, (open) => (view.details = open)), requestAsCode(entry, cards, view),
    ready && !failed && el("div", { class: "row" },
      picture.blob && el("button", { class: "link", "data-key": "save", onclick: () => save(picture.blob, picture.name, picture.blob.type) }, "Save what was sent"),
      el("button", { class: "link", "data-key": "keep", onclick: async () => save(await asPage([entry], cards, view.top), "answer.html", "text/html") }, "Keep as a page"),
      el("button", { class: "link", "data-key": "link", onclick: ({ target }) => copyLink(picture, target) }, "Copy a link")));
}

function deedsFor(entry) {
  const names = shown().map(({ width, height }) => `${width} × ${height}`);
  return {
    seen: [...new Set(names)].join(" and "), cropping: view.cropping,
    again: () => {
      forgetFailures(entry);
      render();
    },
    smaller: () => remake(entry, {}, Math.max(512, SMALL * Math.max(...shown().flatMap(({ width, height }) => [width, height])))),
    unlock: (key) => {
      apiKey.set(key);
      gallery = null;
      samples();
      session.entries.forEach(forgetFailures);
      render();
    },
    show: (key, value) => {
      view[key] = value;
      remember();
      render();
    },
    judge: (label) => {
      entry.verdict = label;
      session.keep(entry);
      session.render();
      const after = session.entries.slice(session.entries.indexOf(entry) + 1).find((each) => each.verdict == null && each.results.get(card().name)?.order);
      if (label != null && after) select(after, true);
      else render();
      announce(label == null ? "Not marked" : `Marked as ${label}. ${$("#score").textContent}`);
    },
    upright: () => {
      const [turned] = session.add([pending(entry.picture.file.name)]);
      prepare(turned, entry.picture.file, { turn: 0, crop: null, upright: true });
      select(turned);
    },
    edit: (change) => {
      view.cropping = false;
      remake(entry, change);
    },
    startCrop: () => {
      view.cropping = !view.cropping;
      render();
    },
    mapCost: (model) => {
      const { times } = entry.results.get(model.name);
      const { pictures, requests } = cost(limits);
      const seconds = (requests * times.answer + (pictures * (times.parts.inference ?? 0))) / 1000;
      return { pictures, requests, time: `; about ${Math.max(1, Math.round(seconds))} s` };
    },
    map: async (model) => {
      const { maps, results } = entry;
      const put = (state) => {
        maps.set(model.name, state);
        if (entry === session.selected && entry.maps === maps) render();
      };
      put({ progress: "Covering parts …" });
      try {
        put(await occlusion(results.get(model.name), model, limits, (done, all) => put({ progress: `Request ${done + 1} of ${all} …` })));
      } catch (error) {
        put({ error });
      }
    },
  };
}

async function copyLink(picture, button) {
  const link = new URL(location.href);
  link.search = "";
  for (const [name, value] of Object.entries({ ...options(), url: picture.url })) if (value) link.searchParams.set(name, value);
  try {
    await navigator.clipboard.writeText(String(link));
    button.textContent = picture.url ? "Link copied" : "Link copied (without the picture)";
  } catch { // not over plain HTTP from another machine
    button.replaceWith(el("input", { readonly: true, value: String(link), "aria-label": "Link" }));
  }
}

function forgetFailures(entry) {
  for (const [name, result] of entry.results) if (result instanceof Error && !result.final) entry.results.delete(name);
  if (entry.picture.failed && !entry.picture.failed.final) return prepare(entry, entry.picture.file, entry.picture.edit);
  ensure(entry);
  session.render();
}

function select(entry, focus = false) {
  if (entry !== session.selected) view.cropping = view.focusAnswer = false;
  session.selected = entry;
  ensure(entry);
  session.render();
  render();
  announce(`${entry.picture.name}: ${summary(entry)}`);
  if (focus) $("#detail [data-key]")?.focus();
}

// Several at once: the first is looked at, all are asked about.
function addAll(pictures) {
  if (!pictures.length) return [];
  batch = session.add(pictures);
  select(batch[0]);
  batch.forEach(ensure);
  reveal();
  return batch;
}

const pending = (name) => ({ name, preparing: true, preview: null, notes: [], edit: { turn: 0, crop: null } });

// Their names are listed at once; they are prepared one after another, and asked about as they come.
function addFiles(files) {
  const added = addAll(files.map(({ name }) => pending(name || "pasted.png")));
  added.forEach((entry, at) => prepare(entry, files[at]));
}

function prepare(entry, file, edit = entry.picture.edit, side) {
  entry.picture = { ...entry.picture, preparing: true, notes: [], edit };
  const exact = $("#exact").checked;
  preparing = preparing.then(async () => {
    if (entry.gone) return;
    let picture;
    try {
      picture = await fromFile(file, { limits, exact, side }, edit);
    } catch (error) {
      const failed = error instanceof Failure ? error : Failure.page(error);
      picture = { ...entry.picture, file, preview: null, notes: [bytes(file.size)], failed, preparing: false };
    }
    if (entry.gone) return forget(picture);
    forget(entry.picture);
    entry.picture = picture;
    if (entry === session.selected) render();
    ensure(entry);
    session.refresh();
  });
}

// The same file, turned, cropped or smaller; its answers are asked for again.
function remake(entry, change, side) {
  entry.controller?.abort();
  Object.assign(entry, { results: new Map(), maps: new Map(), verdict: null, progress: null });
  prepare(entry, entry.picture.file, { ...entry.picture.edit, ...change }, side);
  session.render();
  render();
}

// An address that was typed or pasted; false if the text is none.
function addText(text) {
  const url = addressIn(text);
  if (url) addAll([fromUrl(url)]);
  return Boolean(url);
}

// A drawing is one entry until the sheet is cleared; each stroke asks again.
async function drawn(cleared) {
  $("#undo").disabled = !sheet.canUndo;
  const { state } = sheet;
  const before = drawing;
  if (state !== "drawn") {
    drawing = null;
    $("#live").textContent = state === "dot" ? "Draw more than a dot" : "";
    if (before && !cleared) session.remove(before); // what it showed is rubbed out
    else if (before && session.selected === before) leave();
    return;
  }
  const ink = sheet.ink;
  const blob = await new Promise((resolve) => ink.toBlob(resolve, "image/png"));
  const picture = fromBlob(blob, "drawing.png", ink.toDataURL()); // the function centres it, for every client alike
  if (drawing !== before) return;
  if (!drawing) [drawing] = session.add([picture]);
  drawing.controller?.abort();
  batch = [drawing];
  Object.assign(drawing, { picture, results: new Map(), maps: new Map(), verdict: null, progress: null });
  select(drawing);
}

function leave() {
  session.selected = null;
  session.render();
  render();
}

// What another visit, or a link, starts with.
const options = () => ({ model: $("#model").value, compare: $("#compare").value, top: view.top === 5 ? "" : String(view.top), bars: view.bars === "logits" ? "logits" : "" });

function remember() {
  for (const [name, value] of Object.entries(options())) value ? query.set(name, value) : query.delete(name);
  history.replaceState(null, "", `?${query}`);
}

function choose() {
  const model = card();
  document.title = `${model.name}: image classifier`;
  $("#name").textContent = model.name;
  $("#draw").hidden = !shown().some((each) => each.preprocessing.drawing === "mnist");
  $("#hint").textContent = $("#draw").hidden ? "Choose a picture: the answer appears here." : "Draw a digit or choose a picture: the answer appears here.";
  remember();
  showFacts(model);
  samples();
  session.entries.slice(0, ASKED_AGAIN).forEach(ensure);
  session.render();
  if (session.selected) select(session.selected);
}

let gallery = null;
async function samples() {
  gallery ??= get("samples").catch(() => ({}));
  const all = await gallery, model = card();
  // Another model of the same labels may have some.
  const alike = [model, ...models.values()].filter(({ labels }) => String(labels) === String(model.labels));
  const own = alike.map(({ name }) => all[name]).find((found) => found?.length) ?? [];
  $("#samples").hidden = !own.length;
  const pick = (...chosen) => addAll(chosen.map(({ name, image }) => fromDataUrl(image, `${name}-sample.${image.startsWith("data:image/png") ? "png" : "jpg"}`)));
  $("#try-all").disabled = false;
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
  $("#file").addEventListener("change", ({ target }) => {
    addFiles([...target.files]);
    target.value = "";
  });
  $("#camera").addEventListener("click", () => openCamera((photo) => addFiles([new File([photo], "camera.jpg", { type: "image/jpeg" })]), card));
  $("#address").addEventListener("submit", (event) => {
    event.preventDefault();
    if (addText($("#url").value)) return;
    $("#url").setCustomValidity("This is not the address of a picture. Example: https://example.com/photo.jpg");
    $("#url").reportValidity();
  });
  $("#url").addEventListener("input", ({ target }) => target.setCustomValidity(""));
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files);
    else if (!/INPUT|TEXTAREA/.test(event.target.tagName) && !addText(event.clipboardData.getData("text")))
      announce("The pasted text is not the address of a picture");
  });
  listenToDrops();
  listenToKeys();
  sheet = new Sheet($("#sheet"), drawn);
  const tool = (erasing) => {
    sheet.erasing = erasing;
    $("#brush").setAttribute("aria-pressed", !erasing);
    $("#eraser").setAttribute("aria-pressed", erasing);
  };
  $("#brush").addEventListener("click", () => tool(false));
  $("#eraser").addEventListener("click", () => tool(true));
  $("#width").addEventListener("input", ({ target }) => (sheet.width = Number(target.value)));
  $("#undo").addEventListener("click", () => sheet.undo());
  $("#clear").addEventListener("click", () => sheet.clear());
}

// Y, N and numbers, while the focus is in the results.
function listenToKeys() {
  $("#results").addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
    const entry = session.selected, result = entry?.results.get(card().name);
    if (!result?.order || ctrlKey || metaKey || altKey || target.matches("input, select, textarea, .stage")) return;
    const { judge } = deedsFor(entry);
    const row = "123456789".indexOf(key);
    if (key === "y" || key === "Y") judge(card().labels[result.order[0]]);
    else if (key === "n" || key === "N") $("[data-key='right label']")?.focus();
    else if (row >= 0 && row < result.order.length && row < (view.top || Infinity)) judge(card().labels[result.order[row]]);
  });
}

function listenToDrops() {
  let depth = 0; // dragenter and dragleave come for every element that is crossed
  const over = (by) => document.body.classList.toggle("over", (depth = Math.max(0, depth + by)) > 0);
  addEventListener("dragenter", () => over(1));
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    const { files } = event.dataTransfer;
    if (files.length) addFiles([...files]);
    else if (!addText(event.dataTransfer.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#")) ?? ""))
      announce("What was dropped is not a picture");
  });
}

async function start() {
  const inside = $("#described");
  const described = inside ? JSON.parse(inside.textContent) : await get("models");
  limits = described.limits;
  for (const each of described.models) models.set(each.name, each);
  const names = [...models.keys()];
  const option = (value, text = value) => el("option", { value }, text);
  $("#model").append(...names.map((each) => option(each)));
  $("#compare").append(option("", "none"), ...names.map((each) => option(each)));
  const wanted = (key) => models.has(query.get(key)) && query.get(key);
  $("#model").value = wanted("model") || described.default || names[0];
  $("#compare").value = wanted("compare") || "";
  $("#models").hidden = models.size < 2;
  session = new Session({
    shown, select: (entry) => select(entry), top: () => view.top,
    removed: (entry, other) => {
      if (entry === drawing) drawing = null;
      if (entry !== session.selected) return;
      other && entry?.picture.name !== "drawing.png" ? select(other) : leave();
    },
    retry: () => {
      batch = session.entries.filter((entry) => session.marks(entry).passing);
      batch.forEach(forgetFailures);
      render();
    },
  });
  listen();
  choose();
  const kept = await opened();
  session.restore(kept.map((each) => ({ ...each, picture: { ...each.picture, preview: previewFor(each.picture) } })));
  if (session.entries.length && !session.selected) select(session.entries[0]);
  if (query.get("url") && !kept.length) addText(query.get("url"));
  document.body.dataset.ready = "true";
}

const previewFor = ({ file, blob, edit }) => (file && !edit.turn ? previewOf(file) : blob ? previewOf(blob) : null);

start().catch((error) => $("#empty").replaceChildren(failure(error instanceof Failure ? error : Failure.page(error), null)));
