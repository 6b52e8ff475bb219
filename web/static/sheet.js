// Sheet: the canvas that is drawn on, light on dark as MNIST's digits are.

import { el } from "./dom.js";

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const UNDOS = 30;
const INK = 64; // of 255: fainter pixels are a stroke's edge

export class Sheet {
  // changed: called when a stroke has ended, was undone, or all was cleared.
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, width: 22, erasing: false, before: [], held: new Set() });
    this.ink = el("canvas", { width: canvas.width, height: canvas.height });
    this.pen = this.ink.getContext("2d", { willReadFrequently: true });
    this.cursor = null; // of the keyboard: {x, y, down}
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", ({ key }) => this.held.delete(key));
    canvas.addEventListener("blur", () => {
      const drawing = this.cursor?.down;
      this.cursor = null;
      this.held.clear();
      this.#show();
      if (drawing) this.changed();
    });
    this.#wipe();
  }

  clear() {
    this.#keep();
    this.#wipe();
    this.changed("cleared");
  }

  undo() {
    const pixels = this.before.pop();
    if (!pixels) return;
    this.pen.putImageData(pixels, 0, 0);
    this.#show();
    this.changed();
  }

  get canUndo() {
    return this.before.length > 0;
  }

  // "blank"; "dot": too little to be read; "drawn".
  get state() {
    const { width, height } = this.ink;
    const { data } = this.pen.getImageData(0, 0, width, height);
    let [left, top, right, bottom] = [width, height, -1, -1];
    for (let at = 0; at < data.length; at += 4) {
      if (data[at] < INK) continue;
      const x = (at / 4) % width, y = Math.floor(at / 4 / width);
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
    }
    if (right < 0) return "blank";
    return Math.max(right - left, bottom - top) < Math.max(1.5 * this.width, width / 20) ? "dot" : "drawn";
  }

  #keep() {
    this.before.push(this.pen.getImageData(0, 0, this.ink.width, this.ink.height));
    if (this.before.length > UNDOS) this.before.shift();
  }

  #wipe() {
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, this.ink.width, this.ink.height);
    this.#show();
  }

  #at({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((clientX - box.x) * this.ink.width) / box.width, y: ((clientY - box.y) * this.ink.height) / box.height };
  }

  #begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#keep();
    this.last = this.#at(event);
    this.#line(this.last);
  }

  #move(event) {
    if (!this.last) return;
    for (const each of event.getCoalescedEvents?.() ?? []) this.#line(this.#at(each));
    this.#line(this.#at(event));
  }

  #end() {
    if (!this.last) return;
    this.last = null;
    this.changed();
  }

  #line(to) {
    const pen = this.pen;
    Object.assign(pen, { lineWidth: this.width, lineCap: "round", lineJoin: "round", strokeStyle: this.erasing ? "#000" : "#fff" });
    pen.beginPath();
    pen.moveTo(this.last.x, this.last.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
    this.last = to;
    this.#show();
  }

  // Two arrows held together move the pen slantwise.
  #key(event) {
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.undo();
      return;
    }
    if (!(event.key in KEYS) && event.key !== " ") return;
    event.preventDefault();
    this.cursor ??= { x: this.ink.width / 2, y: this.ink.height / 4, down: false };
    const here = this.cursor;
    this.last = { x: here.x, y: here.y };
    if (event.key === " ") {
      if (!here.down) this.#keep();
      here.down = !here.down;
    } else {
      this.held.add(event.key);
      const step = event.shiftKey ? 2 : 10;
      for (const key of this.held) {
        here.x = Math.min(Math.max(here.x + KEYS[key][0] * step, 0), this.ink.width);
        here.y = Math.min(Math.max(here.y + KEYS[key][1] * step, 0), this.ink.height);
      }
    }
    if (here.down) this.#line(here);
    this.last = null;
    this.#show();
    if (event.key === " " && !here.down) this.changed();
  }

  #show() {
    const view = this.canvas.getContext("2d");
    view.drawImage(this.ink, 0, 0);
    if (!this.cursor) return;
    view.beginPath();
    view.arc(this.cursor.x, this.cursor.y, this.width / 2, 0, 7);
    Object.assign(view, { lineWidth: 2, strokeStyle: this.cursor.down ? "#f59e0b" : "#38bdf8" });
    view.stroke();
  }
}
