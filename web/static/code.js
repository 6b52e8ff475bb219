// The request just made, as curl, Python and JavaScript, with what is shown of its answer.

import { address, apiKey, body } from "./api.js";

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function code({ blob, name: plain, url: given }, options) {
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
