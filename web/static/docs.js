// openapi.json, for people.

import { $, el } from "./dom.js";
import { address, get } from "./api.js";

const json = (value) => el("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

function operation(path, method, { summary, description, parameters = [], requestBody, responses }) {
  const heading = el("h2", {}, el("span", { class: "method" }, method.toUpperCase()), ` ${path}`);
  return el("section", { class: "card", id: path, "aria-label": `${method} ${path}` },
    heading, el("p", {}, `${summary}.`), description && el("p", { class: "hint" }, description),
    parameters[0] && table(["option", "values", "meaning"], parameters.map(({ name, schema }) =>
      [el("code", {}, name), values(schema), schema.description])),
    requestBody && bodies(requestBody.content),
    table(["status", "answer"], Object.entries(responses).map(([status, answer]) => [el("code", {}, status), answer.description])),
    el("details", {}, el("summary", {}, "As curl"), tryIt(path, method, requestBody)));
}

const values = ({ enum: names, type, minimum }) => (names ? names.join(", ") : minimum == null ? type : `${type}, from ${minimum}`);

function bodies(content) {
  const { examples, schema } = content["application/json"];
  const others = Object.keys(content).filter((type) => type !== "application/json");
  return el("div", {}, el("p", {}, "Body: JSON, or the image itself as ", others.slice(0, -1).join(", "), ", or a form with files."),
    ...Object.values(examples).map(({ summary, value }) => el("details", {}, el("summary", {}, summary), json(value))),
    el("p", { class: "hint" }, "Its schema is ", el("code", {}, schema.$ref.split("/").pop()), ", below."));
}

function tryIt(path, method, requestBody) {
  const url = address(path.slice(1));
  const example = JSON.stringify(requestBody?.content["application/json"].examples.image.value);
  const data = example ? ` \\\n  -H 'Content-Type: application/json' \\\n  -d '${example}'` : "";
  return el("pre", { tabindex: "0" }, `curl '${url}'${data}`);
}

function table(heads, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": heads[0] }, el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))));
}

try {
  const answer = await get("openapi.json");
  const operations = Object.entries(answer.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, each]) => operation(path, method, each)));
  const schemas = Object.entries(answer.components.schemas).map(([name, schema]) =>
    el("details", { id: name }, el("summary", {}, name), json(schema)));
  const where = el("pre", { tabindex: "0" }, String(address("./")));
  $("main").append(el("section", { class: "card" }, el("p", {}, answer.info.description), where),
    ...operations, el("section", { class: "card" }, el("h2", {}, "Schemas"), ...schemas));
  $("#status").remove();
} catch (error) {
  $("#status").textContent = `The description cannot be shown: ${error.title ?? error.message}.`;
}
