// The function, as a client sees it. Addresses are relative: the page works below any stage.

import { Failure } from "./errors.js";

const SENT_AS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];
const PATIENCE_MS = 35_000; // a gateway gives up before

export const address = (path, query = {}) => {
  const url = new URL(path, new URL("./", document.baseURI));
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return url;
};

// Gateways pass on these types as bytes; others might arrive damaged.
const typeOf = (blob) => (SENT_AS.includes(blob.type) ? blob.type : "application/octet-stream");

export const body = (picture) =>
  picture.blob
    ? { type: typeOf(picture.blob), content: picture.blob }
    : { type: "application/json", content: JSON.stringify({ url: picture.url }) };

export const get = (path) => ask(path);

// Every score, once: the page decides what it shows.
export async function predict(picture, card) {
  const began = performance.now();
  const { answer, headers } = await ask("predict", picture, card.name);
  const values = card.labels.map((label) => answer[label]);
  const logits = card.output === "logits" ? values : null;
  const probabilities = logits ? shares(logits, card) : values;
  const order = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);
  return { labels: card.labels, logits, probabilities, order, times: times(headers.get("server-timing"), performance.now() - began) };
}

export const tensor = async (picture, card) => (await ask("tensor", picture, card.name)).answer;

async function ask(path, picture, model) {
  const request = { signal: AbortSignal.timeout(PATIENCE_MS) };
  if (picture) {
    const { type, content } = body(picture);
    Object.assign(request, { method: "POST", body: content, headers: { "Content-Type": type } });
  }
  let response, text;
  try {
    response = await fetch(address(path, { model }), request);
    text = await response.text();
  } catch (error) {
    throw error.name === "TimeoutError" ? Failure.silent() : Failure.offline();
  }
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // A gateway's page: the status is enough.
  }
  if (!response.ok || answer === null) throw Failure.of(response.status, answer, response.headers.get("x-request-id"));
  return { answer, headers: response.headers };
}

function shares(logits, { activation }) {
  if (activation === "sigmoid") return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

// "fetch;dur=0.02, total;dur=4.1, start;desc="warm"" and the round trip, ms.
function times(header, trip) {
  const stages = {};
  for (const [, name, time] of (header ?? "").matchAll(/(\w+);dur=([\d.]+)/g)) stages[name] = Number(time);
  const { total = 0, ...parts } = stages;
  return { parts, total, trip, cold: /desc="?cold/.test(header ?? "") };
}
