// The function, as a client sees it. Addresses are relative: the page works below any stage.

import { Failure } from "./errors.js";

const SENT_AS = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];
const STALLED_MS = 30_000; // without one byte more
const PATIENCE_MS = 35_000; // after the last byte; a gateway gives up before
const KEY = "x-api-key";

export const address = (path, query = {}) => {
  const url = new URL(path, new URL("./", document.baseURI));
  for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value);
  return url;
};

// The API key, kept for this tab.
export const apiKey = {
  get: () => {
    try {
      return sessionStorage.getItem(KEY);
    } catch { // in a frame that may store nothing
      return apiKey.kept ?? null;
    }
  },
  set: (value) => {
    apiKey.kept = value;
    try {
      sessionStorage.setItem(KEY, value);
    } catch {
      // It is kept until the page is left.
    }
  },
};

// Gateways pass on these types as bytes; others might arrive damaged.
const typeOf = (blob) => (SENT_AS.includes(blob.type) ? blob.type : "application/octet-stream");

export const body = (picture) =>
  picture.blob
    ? { type: typeOf(picture.blob), content: picture.blob }
    : { type: "application/json", content: JSON.stringify({ url: picture.url }) };

export const get = async (path) => (await send(path)).answer;

// What each model makes of a picture: a Map of results or failures by model, from one request.
// progress({sent, total}): bytes; signal: aborts.
export async function look(picture, cards, { progress, signal }) {
  const names = cards.map(({ name }) => name);
  const query = { model: names.join(","), answer: "values" };
  const { answer, headers, times } = await send("tensor", { query, ...body(picture), progress, signal });
  const accounts = cards.length > 1 ? names.map((name) => answer[name]) : [answer];
  return new Map(cards.map((card, at) => {
    const { error, answer: values, ...tensor } = accounts[at];
    const failed = error && Failure.of(0, accounts[at], headers("x-request-id"));
    return [card.name, failed || { ...outcome(values, card), tensor, times }];
  }));
}

// Several pictures' outcomes, as base64 in one request.
export async function classify(images, card, signal) {
  const content = JSON.stringify({ images: images.map((image) => ({ image })) });
  const query = { model: card.name, answer: "values" };
  const { answer, headers } = await send("predict", { query, type: "application/json", content, signal });
  return answer.map((values) => {
    if (values.error) throw Failure.of(0, values, headers("x-request-id"));
    return outcome(values, card);
  });
}

// Every score: the page decides what it shows. Labels are in the card.
function outcome(values, card) {
  const logits = card.output === "logits" ? values : null;
  const probabilities = logits ? shares(logits, card) : values;
  return { logits, probabilities, order: [...values.keys()].sort((a, b) => values[b] - values[a] || a - b) };
}

function shares(logits, { activation }) {
  if (activation === "sigmoid") return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

// XMLHttpRequest, as fetch reports nothing of an upload's progress.
function send(path, { query, type, content, progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const began = performance.now();
    let timer, uploaded = began;
    const wait = (time, failure) => {
      clearTimeout(timer);
      timer = setTimeout(() => end(reject, failure()), time);
    };
    const end = (settle, value) => {
      clearTimeout(timer);
      settle(value);
      request.abort(); // nothing happens to one that is done
    };
    request.open(content ? "POST" : "GET", address(path, query));
    if (type) request.setRequestHeader("Content-Type", type);
    if (apiKey.get()) request.setRequestHeader("X-Api-Key", apiKey.get());
    request.upload.onprogress = ({ loaded, total }) => {
      wait(STALLED_MS, Failure.stalled);
      progress?.({ sent: loaded, total, time: performance.now() - began });
    };
    request.upload.onload = () => {
      uploaded = performance.now();
      wait(PATIENCE_MS, Failure.silent);
      progress?.({ sent: 1, total: 1, time: uploaded - began });
    };
    request.onprogress = () => wait(PATIENCE_MS, Failure.silent);
    request.onerror = () => end(reject, Failure.offline());
    request.onload = () => {
      const headers = (name) => request.getResponseHeader(name);
      let answer = null;
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // A gateway's page: the status is enough.
      }
      if (request.status !== 200 || answer === null) end(reject, Failure.of(request.status, answer, headers("x-request-id")));
      else end(resolve, { answer, headers, times: times(headers("server-timing"), uploaded - began, performance.now() - uploaded) });
    };
    signal?.addEventListener("abort", () => end(reject, new DOMException("", "AbortError")));
    if (content) wait(STALLED_MS, Failure.stalled);
    else wait(PATIENCE_MS, Failure.silent);
    request.send(content);
  });
}

// "fetch;dur=0.02, total;dur=4.1, start;desc="warm"", the time to send and the time to the answer, ms.
function times(header, upload, answer) {
  const stages = {};
  for (const [, name, time] of (header ?? "").matchAll(/(\w+);dur=([\d.]+)/g)) stages[name] = Number(time);
  const { total = 0, ...parts } = stages;
  return { parts, total, upload, answer, cold: /desc="?cold/.test(header ?? "") };
}
