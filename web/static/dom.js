// Elements, and text for people. Text goes in as text, never as HTML: labels and names are data.

export const $ = (selector) => document.querySelector(selector);

// el("p", {class: "hint", onclick}, "text", child, [children])
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  if (tag === "button") made.type = "button"; // in no form
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child || child === 0));
  return made;
}

export const bytes = (count) =>
  count < 1000 ? `${count} bytes` : count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;

export const percent = (share) => (share > 0 && share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(1)}%`);

export const ms = (time) => (time < 10 ? time.toFixed(1) : Math.round(time)) + " ms";

export const number = (value) => String(Math.round(value * 100) / 100).replace("-", "\u2212");

// For screen readers.
export const announce = (text) => ($("#status").textContent = text);

// A row of buttons of which one is pressed. options: {value: text}; chosen(value) is called.
export function choice(label, options, value, chosen) {
  const buttons = Object.entries(options).map(([each, text]) =>
    el("button", { value: each, "data-key": `${label} ${each}`, "aria-pressed": String(each === value), onclick: () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === each));
      chosen(each);
    } }, text));
  return el("div", { class: "switch", role: "group", "aria-label": label }, buttons);
}

// A bar of a share, 0 to 1.
export function meter(share) {
  const bar = el("i");
  bar.style.width = `${100 * share}%`;
  return bar;
}

// A picture, or a video's frame, on a canvas whose longer side has at most `side` pixels.
export function drawnAt(source, side) {
  const width = source.videoWidth ?? source.naturalWidth, height = source.videoHeight ?? source.naturalHeight;
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = el("canvas", { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// A file that the browser saves.
export function save(content, name, type) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
