// "This request as code": for each model that is shown, as curl, Python and JavaScript, to be copied.

import { address, apiKey, body } from "./api.js";
import { choice, el } from "./dom.js";

const kept = { language: "curl", open: false, model: "" }; // for the next image

export function requestAsCode({ picture, results }, cards, view) {
  if (!picture.blob && !picture.url) return null;
  const answered = cards.filter(({ name }) => results.get(name)?.order);
  if (!answered.length) return null;
  const text = el("pre", { tabindex: "0", "aria-label": "Code" });
  const show = () => {
    const card = answered.find(({ name }) => name === kept.model) ?? answered[0];
    const scores = card.output === "logits" && view.bars !== "logits" ? "probabilities" : null;
    text.textContent = code(picture, { model: card.name, top_k: view.top || null, scores })[kept.language];
  };
  show();
  const pick = (key) => (value) => {
    kept[key] = value;
    show();
  };
  const copy = el("button", { "data-key": "copy", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "Copied";
    } catch { // not over plain HTTP from another machine: the text is selected instead
      getSelection().selectAllChildren(text);
      copy.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  } }, "Copy");
  const names = Object.fromEntries(answered.map(({ name }) => [name, name]));
  return el("details", { open: kept.open, ontoggle: ({ target }) => (kept.open = target.open) },
    el("summary", { "data-key": "code" }, "This request as code"),
    el("div", { class: "row spread" },
      choice("Language", { curl: "curl", Python: "Python", JavaScript: "JavaScript" }, kept.language, pick("language")),
      answered[1] && choice("Model of the code", names, names[kept.model] ?? answered[0].name, pick("model")), copy), text,
    picture.blob && el("p", { class: "hint" }, picture.own ? `Run it in the folder of ${picture.name}.`
      : `${picture.name} was made by this page: save what was sent first, and run the code beside it.`));
}

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function code({ blob, name: plain, url: given }, options) {
  const to = String(address("predict", options));
  const { type } = body({ blob });
  const [url, name, json] = [to, plain, { url: given }].map((value) => JSON.stringify(value));
  const text = JSON.stringify(json); // a literal in both languages
  const locked = Boolean(apiKey.get());
  return {
    curl: `curl --fail-with-body -H 'Content-Type: ${type}' ${locked ? '-H "X-Api-Key: $API_KEY" ' : ""}\\\n  ${blob ? `--data-binary @${shell(plain)}` : `-d ${shell(json)}`} \\\n  ${shell(to)}`,
    Python: `${locked ? "import os\n\n" : ""}import requests

answer = requests.post(
    ${url},
    data=${blob ? `open(${name}, "rb")` : text},
    headers={"Content-Type": "${type}"${locked ? ', "X-Api-Key": os.environ["API_KEY"]' : ""}},
)
if not answer.ok:
    raise SystemExit(answer.text)
print(answer.json())`,
    JavaScript: `${blob ? 'import { readFile } from "node:fs/promises";\n\n' : ""}const answer = await fetch(${url}, {
  method: "POST",
  body: ${blob ? `await readFile(${name}), // in a browser: input.files[0]` : `${text},`}
  headers: { "Content-Type": "${type}"${locked ? ', "X-Api-Key": process.env.API_KEY' : ""} },
});
if (!answer.ok) throw new Error(await answer.text());
console.log(await answer.json());`,
  };
}
