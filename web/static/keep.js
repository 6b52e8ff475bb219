// What a session leaves behind: a table, its data, a page, and a labelled folder.

import { drawnAt, el, meter, percent } from "./dom.js";
import { confidence } from "./confidence.js";
import { zip } from "./zip.js";

const SIDE = 480; // pixels of a picture in a kept page

// One record for each picture: what each model said, and what the person said.
const records = (entries, cards) => entries.map((entry) => ({
  picture: entry.picture.name,
  ...(entry.picture.url ? { url: entry.picture.url } : {}),
  ...(entry.verdict != null ? { right_label: entry.verdict } : {}),
  answers: Object.fromEntries(cards.map((card) => {
    const result = entry.results.get(card.name);
    if (!result?.order) return [card.name, { error: result?.code ?? "not_asked" }];
    const scores = Object.fromEntries(result.order.map((at) => [card.labels[at], result.probabilities[at]]));
    return [card.name, { label: card.labels[result.order[0]], probabilities: scores }];
  })),
}));

export const asJson = (entries, cards) => JSON.stringify(records(entries, cards), null, 1);

// RFC 4180.
export function asCsv(entries, cards) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const names = cards.map(({ name }) => name);
  const heads = ["picture", ...names.flatMap((name) => [name, `${name} probability`]), "right label"];
  const lines = records(entries, cards).map(({ picture, right_label, answers }) => [picture, ...names.flatMap((name) => {
    const { error, label, probabilities } = answers[name];
    return error ? [error, ""] : [label, probabilities[label].toFixed(6)];
  }), right_label ?? ""]);
  return [heads, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
}

// The pictures that were judged, each in a folder named after its right label.
export async function asFolders(entries) {
  const judged = entries.filter(({ verdict, picture }) => verdict != null && picture.blob);
  return zip(await Promise.all(judged.map(async ({ verdict, picture }, at) => ({
    name: `${verdict.replaceAll("/", "_")}/${String(at + 1).padStart(4, "0")}-${picture.name.replace(/[/\\:*?"<>|]/g, "_")}`,
    content: new Uint8Array(await picture.blob.arrayBuffer()),
  }))));
}

// Accuracy so far: {right, judged}.
export function score(entries, card) {
  const judged = entries.filter((entry) => entry.verdict != null && entry.results.get(card.name)?.order);
  const right = judged.filter((entry) => card.labels[entry.results.get(card.name).order[0]] === entry.verdict);
  return { right: right.length, judged: judged.length };
}

const STYLE = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:52rem;margin:0 auto;padding:1rem}
article{display:grid;grid-template-columns:14rem 1fr;gap:1.5rem;border-top:1px solid #8886;padding:1rem 0;break-inside:avoid}
@media(max-width:36rem){article{grid-template-columns:1fr}}img{max-width:100%;border-radius:8px}h1,h2,p{margin:0 0 .3rem}
table{width:100%;border-spacing:0}th{text-align:left;font-weight:400}td{text-align:right;width:5rem}
i{display:block;height:.4rem;border-radius:3px;background:#4f46e5;print-color-adjust:exact;-webkit-print-color-adjust:exact;forced-color-adjust:none}small{opacity:.75}`;

// A page that needs nothing beside it.
export async function asPage(entries, cards, top) {
  const articles = await Promise.all(entries.map(async (entry) => {
    const source = await picture(entry, cards[0]);
    return el("article", {}, el("div", {}, source && el("img", { src: source, alt: "" }), el("small", {}, entry.picture.name)),
      el("div", {}, cards.map((card) => answer(entry, card, top))));
  }));
  const page = document.implementation.createHTMLDocument(`Answers of ${cards.map(({ name }) => name).join(" and ")}`);
  page.documentElement.lang = "en";
  page.head.prepend(el("meta", { charset: "utf-8" }), el("meta", { name: "viewport", content: "width=device-width" }));
  page.body.append(el("h1", {}, page.title), el("p", {}, `${new Date().toLocaleString("en-GB")}, ${location.origin}`), ...articles);
  // As text: this page's own policy lets no style element be made.
  return `<!doctype html>\n${page.documentElement.outerHTML.replace("</head>", () => `<style>${STYLE}</style></head>`)}`;
}

function answer(entry, card, top) {
  const result = entry.results.get(card.name);
  const model = el("small", {}, card.name);
  if (!result?.order) return el("div", {}, model, el("h2", {}, result?.title ?? "Not asked"));
  const best = card.labels[result.order[0]];
  const row = (at) => el("tr", {}, el("th", {}, card.labels[at], meter(result.probabilities[at])),
    el("td", {}, percent(result.probabilities[at])));
  return el("div", {}, model, el("h2", {}, `${best} ${percent(result.probabilities[result.order[0]])}`),
    el("p", {}, confidence(result, card).text),
    entry.verdict != null && el("p", {}, entry.verdict === best ? "Marked as right." : `Marked as ${entry.verdict}.`),
    el("table", {}, el("tbody", {}, result.order.slice(0, top || undefined).map(row))));
}

async function picture({ picture: { preview }, results }, card) {
  if (!preview) return results.get(card.name)?.tensor?.image;
  const image = new Image();
  image.src = preview;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return drawnAt(image, SIDE).toDataURL("image/jpeg", 0.85);
}
