// The answer to one image: the label first, what it is worth, then every label's share.

import { choice, el, percent } from "./dom.js";
import { confidence } from "./confidence.js";

const SEARCHED = 10; // more labels than this get a search field

// entry: {picture, results, progress, verdict}; cards: one, or two to compare; deeds: see app.js
export function answers(entry, cards, view, deeds) {
  const results = cards.map(({ name }) => entry.results.get(name));
  const [first] = results;
  const alike = results.every((each) => each instanceof Error && each.code === first.code);
  const parts = alike ? [failure(first, deeds)]
    : cards.map((card, at) => one(entry, card, results[at], cards[1], view, deeds));
  return el("div", { class: "answers" }, comparison(cards, results), parts);
}

function comparison(cards, results) {
  if (cards.length < 2 || results.some((result) => !result?.order)) return null;
  const best = cards.map(({ labels }, at) => labels[results[at].order[0]]);
  const each = cards.map(({ name }, at) => `${name} says ${best[at]}`).join(", ");
  return el("p", { class: "comparison" }, best[0] === best[1] ? `Both say ${best[0]}.` : `They disagree: ${each}.`);
}

function one(entry, card, result, several, view, deeds) {
  const heading = several && el("p", { class: "eyebrow" }, card.name);
  if (result instanceof Error) return el("div", { class: "answer" }, heading, failure(result, deeds));
  if (!result?.order) return el("div", { class: "answer", "aria-busy": "true" }, heading, waiting(entry, deeds));
  const best = result.order[0], { text, weak } = confidence(result, card);
  return el("div", { class: "answer" }, heading,
    el("h2", { class: weak ? "best weak" : "best", tabindex: "-1", "data-key": `answer ${card.name}` },
      card.labels[best] + " ", el("small", {}, percent(result.probabilities[best]))),
    el("p", { class: "worth" }, text), rows(card, result, view, deeds));
}

// Before the answer: what is done now, and a way to make it shorter.
export function waiting(entry, deeds) {
  const { progress, picture } = entry;
  const bar = el("progress", { max: 1, value: progress?.share, "aria-label": "Upload" });
  return el("div", { class: "wait" }, el("p", {}, progress?.text ?? (picture?.preparing ? "Preparing the picture …" : "Waiting …")), bar,
    progress?.slow && el("p", {}, `This takes about ${progress.slow} s. `,
      el("button", { "data-key": "smaller", onclick: deeds.smaller }, `Send a smaller copy (the model sees ${deeds.seen})`)));
}

export function failure(error, deeds) {
  const key = el("input", { type: "password", autocomplete: "off", "aria-label": "API key", placeholder: "API key", "data-key": "key" });
  return el("div", { class: "error" }, el("h2", { tabindex: "-1", "data-key": "failure" }, error.title), el("p", {}, error.advice),
    el("p", { class: "hint" }, el("code", {}, error.code), error.message && `: ${error.message}`,
      error.request && ` (request ${error.request})`),
    error.locked && deeds ? el("form", { class: "row", onsubmit: (event) => {
      event.preventDefault();
      if (key.value) deeds.unlock(key.value);
    } }, key, el("button", { type: "submit", class: "primary" }, "Use this key"))
      : deeds && !error.final && el("button", { onclick: deeds.again, "data-key": "again" }, "Try again"));
}

// A table: screen readers say each number's column.
function rows(card, result, view, deeds) {
  const { labels } = card, { logits, probabilities, order } = result;
  const byLogit = view.bars === "logits" && logits;
  const values = byLogit ? logits : probabilities;
  const low = byLogit ? Math.min(0, ...values) : 0, high = byLogit ? Math.max(0, ...values) : 1;
  const at = (value) => (100 * (value - low)) / (high - low || 1);
  const row = (index, rank) => {
    const bar = el("i");
    bar.style.left = `${at(Math.min(0, values[index]))}%`;
    bar.style.width = `${at(Math.abs(values[index]) + low)}%`;
    return el("tr", {}, el("th", { scope: "row" }, el("b", { title: labels[index] }, rank && el("small", {}, `${rank}. `), labels[index]),
      el("div", { class: "track", "aria-hidden": "true" }, bar)),
      el("td", { class: !byLogit && "on" }, percent(probabilities[index])), logits && el("td", { class: byLogit && "on" }, logits[index].toFixed(2).replace("-", "−")));
  };
  const body = el("tbody");
  const fill = () => {
    const wanted = view.find.trim().toLowerCase();
    const found = order.map((index, place) => [index, place + 1]).filter(([index]) => !wanted || labels[index].toLowerCase().includes(wanted));
    const some = wanted ? found.slice(0, 50) : found.slice(0, view.top || undefined);
    body.replaceChildren(...some.map(([index, place]) => row(index, wanted && place)));
    if (!some.length) body.append(el("tr", {}, el("td", { colspan: "3" }, "No such label.")));
  };
  fill();
  const most = labels.length;
  const sizes = [3, 5, 10].filter((size) => size < most);
  const select = el("select", { "data-key": `top ${card.name}`, onchange: ({ target }) => deeds.show("top", Number(target.value)) },
    sizes.map((size) => el("option", { value: size, selected: view.top === size }, `the best ${size}`)),
    el("option", { value: 0, selected: !sizes.includes(view.top) }, `all ${most}`));
  return el("div", { class: "shares" },
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Labels, best first" },
      el("table", { class: "bars" }, el("caption", { class: "sr" }, `Labels of ${card.name}, best first`),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Label"), el("th", { scope: "col" }, "Probability"), logits && el("th", { scope: "col" }, "Logit"))),
        body)),
    el("div", { class: "row quiet" }, most > 3 && el("label", {}, "Show ", select),
      most > SEARCHED && el("input", { type: "search", placeholder: "Find a label", "aria-label": "Find a label", value: view.find,
        "data-key": `find ${card.name}`, oninput: ({ target }) => {
          view.find = target.value;
          fill();
        } }),
      logits && choice("Bars show", { probabilities: "Probability", logits: "Logit" }, view.bars, (value) => deeds.show("bars", value))));
}

// "Was it right?": y, n, or the number of the row that is right.
export function judgement(entry, card, deeds) {
  const result = entry.results.get(card.name);
  if (!result?.order) return null;
  const { labels } = card, best = labels[result.order[0]];
  const given = entry.verdict;
  if (given != null)
    return el("div", { class: "row judge", role: "group", "aria-label": "Was it right?" },
      el("p", {}, given === best ? "You marked it as right." : `You marked it as ${given}.`),
      el("button", { class: "link", "data-key": "judge", onclick: () => deeds.judge(null) }, "Change"));
  const others = el("select", { "aria-label": "The right label", "data-key": "right label", onchange: ({ target }) => target.value && deeds.judge(target.value) },
    el("option", { value: "" }, "No, it is …"), [...labels].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).filter((label) => label !== best).map((label) => el("option", {}, label)));
  return el("div", { class: "row judge", role: "group", "aria-label": "Was it right?" }, el("p", {}, "Was it right?"),
    el("button", { "data-key": "judge", onclick: () => deeds.judge(best) }, "Yes ", el("kbd", { "aria-hidden": "true" }, "Y")), others,
    el("span", { class: "hint" }, "Keys: Y, N, or the number of the right row"));
}
