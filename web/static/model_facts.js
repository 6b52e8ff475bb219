// What the card says of a model, for people who want to know whether to trust it.

import { $, bytes, el, percent } from "./dom.js";
import { testRecord } from "./confidence.js";

const SHOWN = 12; // labels in the empty state

export function showFacts(card) {
  const { preprocessing: steps, provenance: past = {}, verification: proof = {} } = card;
  const rows = [
    ["Input", `${card.width} × ${card.height}, ${card.channels === 1 ? "grey" : "colour"}`],
    ["Resizing", steps.resize],
    ["Photos on their side", steps.exif === "apply" ? "turned upright by their EXIF orientation" : "not turned: trained without their EXIF orientation"],
    ["Tested", testRecord(card) ?? "no test results in the model's card"],
    proof.samples && ["Compared with Keras", `the same answer for ${percent(proof.agreement)} of ${proof.samples} photos`],
    past.quantization && ["Weights", past.quantization === "none" ? "as trained, 32 bits" : past.quantization],
    card.model_bytes && ["Size", bytes(card.model_bytes)],
    past.trained_by && ["Trained by", past.trained_by],
    past.written_by && ["Written by", past.written_by],
  ];
  $("#about dl").replaceChildren(...rows.filter(Boolean).flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
  showLabels(card.labels);
  const some = card.labels.slice(0, SHOWN).join(", ");
  $("#knows").textContent = `This model has ${card.labels.length > SHOWN ? `${card.labels.length.toLocaleString("en")} labels, such as ${some}.` : `the labels ${some}.`}`;
}

function showLabels(labels) {
  const list = el("ol", { class: "labels", tabindex: "0", "aria-label": "Labels" });
  const fill = (wanted) => list.replaceChildren(...labels.filter((label) => label.toLowerCase().includes(wanted)).map((label) => el("li", {}, label)));
  fill("");
  $("#labels").replaceChildren(el("div", { class: "row spread" }, el("h3", {}, `${labels.length.toLocaleString("en")} labels`),
    labels.length > 10 && el("input", { type: "search", placeholder: "Find a label", "aria-label": "Find a label of the model",
      oninput: ({ target }) => fill(target.value.trim().toLowerCase()) })), list);
}
