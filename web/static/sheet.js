// Sheet: the canvas that is drawn on, light on dark as MNIST's digits are.

import { el } from "./dom.js";

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Sheet {
  // changed: called when a stroke has ended, or all was cleared.
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, width: 22, erasing: false, blank: true });
    this.ink = el("canvas", { width: canvas.width, height: canvas.height });
    this.pen = this.ink.getContext("2d");
    this.cursor = null; // of the keyboard: {x, y, down}
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.cursor = null; this.#show(); });
    this.#wipe();
  }

  clear() {
    this.#wipe();
    this.changed();
  }

  #wipe() {
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, this.ink.width, this.ink.height);
    this.blank = true;
    this.#show();
  }

  #at({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((clientX - box.x) * this.ink.width) / box.width, y: ((clientY - box.y) * this.ink.height) / box.height };
  }

  #begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.#at(event);
    this.#line(this.last);
  }

  #move(event) {
    if (!this.last) return;
    for (const each of event.getCoalescedEvents?.() ?? []) this.#line(this.#at(each));
    this.#line(this.#at(event));
  }

  #end() {
    if (this.last) this.changed();
    this.last = null;
  }

  #line(to) {
    const pen = this.pen;
    Object.assign(pen, { lineWidth: this.width, lineCap: "round", lineJoin: "round", strokeStyle: this.erasing ? "#000" : "#fff" });
    pen.beginPath();
    pen.moveTo(this.last.x, this.last.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
    this.last = to;
    this.blank &&= this.erasing;
    this.#show();
  }

  #key(event) {
    if (!(event.key in KEYS) && event.key !== " ") return;
    event.preventDefault();
    this.cursor ??= { x: this.ink.width / 2, y: this.ink.height / 4, down: false };
    const here = this.cursor;
    this.last = { x: here.x, y: here.y };
    if (event.key === " ") here.down = !here.down;
    else {
      const step = event.shiftKey ? 2 : 10;
      const [x, y] = KEYS[event.key];
      here.x = Math.min(Math.max(here.x + x * step, 0), this.ink.width);
      here.y = Math.min(Math.max(here.y + y * step, 0), this.ink.height);
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
