// Session: the pictures given so far, newest first, as a list that is filtered, counted and kept.

import { $, announce, el, percent, save } from "./dom.js";
import { confidence } from "./confidence.js";
import { asCsv, asFolders, asJson, asPage, score } from "./keep.js";
import { forget } from "./picture.js";
import { drop, dropAll, keep } from "./store.js";

const KINDS = { failed: "failed", unsure: "unsure", disagree: "disagreement" };

export class Session {
  // shown(): the cards; select, removed, retry: called with an entry, an entry, and none.
  constructor({ shown, select, removed, retry, top }) {
    Object.assign(this, { shown, select, removed, retry, top, entries: [], selected: null, filter: "all", count: 0 });
    $("#filter").addEventListener("change", ({ target }) => {
      this.filter = target.value;
      this.render();
    });
    $("#forget").addEventListener("click", () => this.clear());
    $("#retry").addEventListener("click", () => this.retry());
    const deeds = {
      csv: () => save(asCsv(this.entries, shown()), "answers.csv", "text/csv"),
      json: () => save(asJson(this.entries, shown()), "answers.json", "application/json"),
      page: async () => save(await asPage(this.entries, shown(), top()), "answers.html", "text/html"),
      folders: async () => save(await asFolders(this.entries), "labelled.zip", "application/zip"),
    };
    $("#exports").addEventListener("click", ({ target }) => deeds[target.value]?.());
  }

  // Several at once stay in their order, before all others.
  add(pictures) {
    const added = pictures.map((picture, at) => this.#made({ picture, id: this.count + pictures.length - at }));
    this.count += pictures.length;
    this.entries.unshift(...added);
    $(".strip").prepend(...added.map(({ chip }) => chip));
    return added;
  }

  // kept: as the store gives them, oldest first.
  restore(kept) {
    for (const each of kept) {
      this.count = Math.max(this.count, each.id);
      const entry = this.#made({ ...each, results: new Map(each.results) });
      this.entries.unshift(entry);
      $(".strip").prepend(entry.chip);
    }
  }

  #made(given) {
    return { results: new Map(), maps: new Map(), verdict: null, progress: null, chip: el("li"), ...given };
  }

  remove(entry) {
    const at = this.entries.indexOf(entry);
    this.#end(entry);
    this.entries.splice(at, 1);
    drop(entry);
    announce(`${entry.picture.name} removed`);
    this.removed(entry, this.entries[at] ?? this.entries[at - 1] ?? null);
    this.render();
  }

  clear() {
    this.entries.splice(0).forEach((entry) => this.#end(entry));
    dropAll();
    this.removed(this.selected, null);
    this.render();
    announce("The list is empty");
    $("#results").focus();
  }

  #end(entry) {
    entry.gone = true;
    entry.controller?.abort();
    entry.chip.remove();
    forget(entry.picture);
  }

  keep(entry) {
    if (!entry.gone && !entry.picture.preparing) keep(entry);
  }

  // What an entry counts as: its label and any of KINDS.
  marks(entry) {
    const cards = this.shown();
    const results = cards.map(({ name }) => entry.results.get(name));
    const best = cards.map(({ labels }, at) => results[at]?.order && labels[results[at].order[0]]);
    const unsure = best[0] != null && confidence(results[0], cards[0]).weak;
    return {
      label: best[0], other: best[1] != null && best[1] !== best[0] ? best[1] : null,
      failed: results.some((result) => result instanceof Error), unsure,
      passing: results.some((result) => result instanceof Error && !result.final),
      disagree: best[1] != null && best[0] != null && best[1] !== best[0],
      waiting: results.some((result) => !result || result.pending),
    };
  }

  // Soon, and once for many answers: the list is as long as the batch.
  refresh() {
    this.soon ??= setTimeout(() => {
      this.soon = null;
      this.render();
    }, 50);
  }

  // The list as a whole: counts, filter, accuracy, chips.
  render() {
    const marks = new Map(this.entries.map((entry) => [entry, this.marks(entry)]));
    const counts = new Map();
    for (const { label } of marks.values()) if (label != null) counts.set(label, (counts.get(label) ?? 0) + 1);
    const kinds = Object.keys(KINDS).map((kind) => [kind, [...marks.values()].filter((mark) => mark[kind]).length]).filter(([, count]) => count);
    const options = [["all", `all (${this.entries.length})`], ...kinds.map(([kind, count]) => [kind, `${KINDS[kind]} (${count})`]),
      ...[...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => [`is ${label}`, `${label} (${count})`])];
    if (!options.some(([value]) => value === this.filter)) this.filter = "all";
    $("#filter").replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === this.filter }, text)));
    const failed = [...marks.values()].filter(({ passing }) => passing).length;
    $("#retry").hidden = !failed;
    $("#retry").textContent = `Try failed again (${failed})`;
    const { right, judged } = score(this.entries, this.shown()[0]);
    $("#score").textContent = judged ? `${right} of ${judged} marked as right (${percent(right / judged)}).` : "";
    $("#exports [value=folders]").hidden = !this.entries.some(({ verdict, picture }) => verdict != null && picture.blob);
    $("#history").hidden = !this.entries.length;
    for (const [entry, mark] of marks) {
      entry.chip.hidden = !(this.filter === "all" || mark[this.filter] || `is ${mark.label}` === this.filter);
      this.#chip(entry, mark);
    }
  }

  #chip(entry, { label, other, failed }) {
    const { preview, name, url } = entry.picture;
    const [card] = this.shown();
    const result = entry.results.get(card.name);
    const text = label != null ? label + (other != null ? ` / ${other}` : "") : failed ? "failed" : entry.picture.preparing ? "preparing …" : "…";
    const share = result?.order ? percent(result.probabilities[result.order[0]]) : name;
    const none = (mark) => el("span", { class: "none", "aria-hidden": "true" }, mark);
    const source = preview ?? result?.tensor?.image;
    const judged = entry.verdict != null && (entry.verdict === label ? " ✓" : " ✗");
    const current = entry === this.selected;
    const looks = JSON.stringify([text, share, source, judged, current, failed, name]);
    if (entry.looks === looks) return;
    entry.looks = looks;
    const focused = document.activeElement?.dataset?.key;
    const inside = entry.chip.contains(document.activeElement);
    entry.chip.replaceChildren(
      el("button", { class: "pick", "aria-current": String(current), title: name, "data-key": `pick ${entry.id}`, onclick: () => this.select(entry) },
        source ? el("img", { src: source, alt: "", onerror: ({ target }) => target.replaceWith(none("?")) }) : none(failed ? "!" : url ? "URL" : "…"),
        el("span", {}, el("span", { class: "sr" }, `${name}: `), el("em", { class: failed && "bad" }, text), share, judged)),
      el("button", { class: "remove", "aria-label": `Remove ${name}`, title: "Remove", "data-key": `remove ${entry.id}`, onclick: () => this.remove(entry) }, "×"));
    if (inside) entry.chip.querySelector(`[data-key="${focused}"]`)?.focus();
  }
}
