// The request just made, as curl, Python and JavaScript, with what is shown of its answer.

import { address, body } from "./api.js";

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function code(picture, options) {
  const url = String(address("predict", options));
  const { type } = body(picture);
  const [name, json] = [JSON.stringify(picture.name), JSON.stringify({ url: picture.url })];
  if (picture.blob)
    return {
      curl: `curl -H 'Content-Type: ${type}' --data-binary @${shell(picture.name)} \\\n  ${shell(url)}`,
      Python: `import requests

with open(${name}, "rb") as image:
    answer = requests.post(
        ${JSON.stringify(url)},
        data=image,
        headers={"Content-Type": "${type}"},
    )
answer.raise_for_status()
print(answer.json())`,
      JavaScript: `import { readFile } from "node:fs/promises";

const image = await readFile(${name}); // in a browser: input.files[0]
const answer = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  body: image,
  headers: { "Content-Type": "${type}" },
});
console.log(await answer.json());`,
    };
  return {
    curl: `curl -H 'Content-Type: application/json' -d ${shell(json)} \\\n  ${shell(url)}`,
    Python: `import requests

answer = requests.post(
    ${JSON.stringify(url)},
    json=${json},
)
answer.raise_for_status()
print(answer.json())`,
    JavaScript: `const answer = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  body: JSON.stringify(${json}),
  headers: { "Content-Type": "application/json" },
});
console.log(await answer.json());`,
  };
}
