// One image: beside the original what the model saw, then what it made of it.

import { $, el, ms, percent } from "./dom.js";
import { code } from "./code.js";

const STAGES = ["fetch", "decode", "preprocess", "inference"];
const kept = { language: "curl", open: false }; // for the next image

// entry: {picture, results, tensors}, maps by model; cards: one, or two to compare; again: asks anew.
export function detail(entry, cards, view, again) {
  const { picture } = entry;
  const results = cards.map((card) => entry.results.get(card.name));
  // What is wrong with an image is so for both.
  const alike = results.every((result) => result instanceof Error && result.code === results[0].code);
  return el("article", { class: "card", "aria-label": picture.name },
    sight(entry, cards),
    verdict(cards, results),
    alike ? failure(results[0], again)
      : el("div", { class: "answers" }, ...cards.map(({ name }, at) => answer(results[at], cards[1] && name, view, again))),
    requestAsCode(picture, cards[0], view));
}

export const sight = ({ picture, results, tensors }, cards) =>
  el("div", { class: "seen" }, original(picture), ...cards.map(({ name }) => !(results.get(name) instanceof Error)
    && seen(tensors.get(name), cards[1] ? `What ${name} saw` : "What the model saw")));

function original(picture) {
  const shown = picture.preview
    ? el("img", { src: picture.preview, alt: `Your image, ${picture.name}`, onerror: noPreview })
    : el("a", { href: picture.url, target: "_blank", rel: "noreferrer noopener" }, "Open the original");
  picture.sent ??= picture.blob && URL.createObjectURL(picture.blob);
  const save = picture.blob && el("a", { href: picture.sent, download: picture.name }, "Save what was sent");
  return el("figure", {}, el("div", { class: picture.preview ? "frame" : "frame low" }, shown),
    el("figcaption", {}, el("b", {}, picture.name), picture.note && el("span", {}, ` · ${picture.note}`), save && el("br"), save));
}

function noPreview({ target }) {
  target.parentNode.classList.add("low");
  target.replaceWith("No preview");
}

function seen(tensor, what) {
  if (!tensor?.shape) return el("figure", {}, el("div", { class: "frame wait" }), el("figcaption", {}, el("b", {}, what)));
  const [height, width, channels] = tensor.shape;
  const figures = `${width} × ${height} ${channels === 1 ? "grey" : "colour"}, ${round(tensor.min)} to ${round(tensor.max)}`;
  return el("figure", {},
    el("div", { class: "frame" }, el("img", { class: "tensor", src: tensor.image, width, height, alt: what })),
    el("figcaption", {}, el("b", {}, what), ` · ${figures}`));
}

const round = (value) => String(Math.round(value * 100) / 100);

function verdict(cards, results) {
  if (cards.length < 2 || results.some((result) => !result?.order)) return null;
  const best = results.map(({ labels, order }) => labels[order[0]]);
  const each = cards.map(({ name }, at) => `${name} says ${best[at]}`).join(", ");
  return el("p", {}, best[0] === best[1] ? `Both say ${best[0]}.` : `They disagree: ${each}.`);
}

function answer(result, name, view, again) {
  const heading = name && el("h3", {}, name);
  if (result instanceof Error) return el("div", { class: "answer" }, heading, failure(result, again));
  if (!result?.order) return el("div", { class: "answer", "aria-busy": "true" }, heading, el("div", { class: "wait" }));
  const best = result.order[0];
  return el("div", { class: "answer" }, heading,
    el("p", { class: "best" }, result.labels[best] + " ", el("small", {}, percent(result.probabilities[best]))),
    el("div", { class: "head", "aria-hidden": "true" }, el("span"), el("span", {}, "probability"), el("span", {}, "logit")),
    bars(result, view), timings(result.times));
}

function bars({ labels, logits, probabilities, order }, view) {
  const byLogit = view.bars === "logits" && logits;
  const values = byLogit ? logits : probabilities;
  const low = byLogit ? Math.min(0, ...values) : 0, high = byLogit ? Math.max(0, ...values) : 1;
  const at = (value) => (100 * (value - low)) / (high - low || 1);
  const on = (name) => (((name === "logits") === Boolean(byLogit)) ? "on" : null);
  const shown = order.slice(0, view.top || undefined);
  return el("ol", { class: "bars", tabindex: "0", "aria-label": "Labels, best first" }, ...shown.map((index) => {
    const bar = el("i");
    bar.style.left = `${at(Math.min(0, values[index]))}%`;
    bar.style.width = `${at(Math.abs(values[index]) + low)}%`;
    return el("li", {}, el("b", { title: labels[index] }, labels[index]),
      el("span", { class: on("probabilities") }, percent(probabilities[index])),
      el("span", { class: on("logits") }, logits ? logits[index].toFixed(2) : "–"),
      el("div", { class: "track", "aria-hidden": "true" }, bar));
  }));
}

function timings({ parts, total, trip, cold }) {
  const done = STAGES.filter((stage) => parts[stage] >= 0.05).map((stage) => [stage, parts[stage]]);
  done.push(["rest", Math.max(0, trip - done.reduce((sum, [, time]) => sum + time, 0))]);
  const line = el("div", { class: "times", "aria-hidden": "true" }, ...done.map(([stage, time]) => {
    const part = el("i", { class: stage });
    part.style.flexGrow = time;
    return part;
  }));
  return el("div", {}, line, el("ul", { class: "legend" }, ...done.map(([stage, time]) =>
    el("li", {}, el("i", { class: stage, "aria-hidden": "true" }), stage === "rest" ? "all else" : stage, ` ${ms(time)}`)),
    el("li", {}, `in the function ${ms(total)}, from here ${ms(trip)}`), cold && el("li", {}, "cold start")));
}

export function failure(error, again) {
  return el("div", { class: "error" }, el("strong", {}, error.title), el("p", {}, error.advice),
    el("p", { class: "hint" }, el("code", {}, error.code), error.message && `: ${error.message}`,
      error.request && ` (request ${error.request})`),
    again && el("button", { onclick: again }, "Try again"));
}

function requestAsCode(picture, card, view) {
  const scores = card.output === "logits" && view.bars !== "logits" ? "probabilities" : null;
  const options = code(picture, { model: card.name, top_k: view.top || null, scores });
  const text = el("pre", { tabindex: "0", "aria-label": "Code" });
  const tabs = Object.keys(options).map((name) => el("button", { onclick: () => choose(name) }, name));
  const choose = (name) => {
    kept.language = name;
    text.textContent = options[name];
    for (const tab of tabs) tab.setAttribute("aria-pressed", tab.textContent === name);
  };
  choose(kept.language);
  const copy = el("button", { onclick: async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "Copied";
    } catch { // not over plain HTTP from another machine: the text is selected instead
      getSelection().selectAllChildren(text);
      copy.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  } }, "Copy");
  return el("details", { open: kept.open },
    el("summary", { onclick: ({ target }) => (kept.open = !target.parentNode.open) }, "This request as code"),
    el("div", { class: "row spread" }, el("div", { class: "switch", role: "group", "aria-label": "Language" }, ...tabs), copy), text,
    picture.blob && el("p", { class: "hint" }, `Of ${card.name}; run it where ${picture.name} is.`));
}

// What the card says of a model, for people who want to know whether to trust it.
export function about(card) {
  const { preprocessing: steps, provenance: past = {}, verification: proof = {} } = card;
  const scaling = typeof steps.scaling === "string" ? steps.scaling : "by hand";
  const [low, high] = past.test_interval_95 ?? [];
  const rows = [
    ["Labels", card.labels.length.toLocaleString("en")],
    ["Input", `${card.width} × ${card.height}, ${card.channels === 1 ? "grey" : "colour"}`],
    ["Prepared", `${steps.resize}, ${steps.interpolation}, scaled as ${scaling}`],
    past.test_accuracy && ["Test accuracy", percent(past.test_accuracy) + (high ? ` (95 %: ${percent(low)} to ${percent(high)})` : "")],
    proof.samples && ["As Keras answers", `on ${percent(proof.agreement)} of ${proof.samples} samples`],
    past.quantization && ["Quantization", past.quantization],
  ];
  $("#about dl").replaceChildren(...rows.filter(Boolean).flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
}
