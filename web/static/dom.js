// Elements, and text for people. Text goes in as text, never as HTML: labels and names are data.

export const $ = (selector) => document.querySelector(selector);

// el("p", {class: "hint", onclick}, "text", child)
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  if (tag === "button") made.type = "button"; // in no form
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

export const bytes = (count) =>
  count < 1000 ? `${count} bytes` : count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;

export const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);

export const ms = (time) => (time < 10 ? time.toFixed(1) : Math.round(time)) + " ms";
