// The camera, in a dialog: one photo, or answers to what it sees while it runs.

import { $, announce, drawnAt, el, meter, percent } from "./dom.js";
import { classify } from "./api.js";

const WORDS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it at the left of the address bar, then try again.",
  NotFoundError: "No camera was found. Connect one, then try again.",
  NotReadableError: "Another program uses the camera. Close it, then try again.",
  insecure: "Browsers give the camera to https:// pages and to localhost only. Open this page at such an address.",
};
const LIVE_SIDE = 480; // pixels of what is sent while it runs
const PAUSE_MS = 150;

// take(blob): a photo was taken; the dialog stays, for the next one. card(): the model that answers.
export function openCamera(take, card) {
  const dialog = $("#viewfinder"), video = dialog.querySelector("video"), notice = dialog.querySelector(".notice");
  const button = (value) => dialog.querySelector(`[value=${value}]`);
  const said = dialog.querySelector(".said");
  let facing = "environment", running = null;

  const stop = () => {
    live(false);
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  const tell = (text) => {
    notice.textContent = text;
    notice.hidden = button("retry").hidden = !text;
    video.hidden = Boolean(text);
  };
  const start = async () => {
    stop();
    tell("");
    dialog.querySelector(".waiting").hidden = false;
    button("take").disabled = button("live").disabled = true;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "insecure");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, width: { ideal: 1920 } } });
      if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
      video.srcObject = stream;
      await video.play();
      const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
      button("turn").hidden = cameras.length < 2;
      button("take").disabled = button("live").disabled = false;
      button("take").focus();
    } catch (error) {
      if (error.name !== "AbortError") tell(WORDS[error.name] ?? `The camera does not work: ${error.name}. Try again.`);
    }
    dialog.querySelector(".waiting").hidden = true;
  };
  const live = (on) => {
    running?.abort();
    running = on ? new AbortController() : null;
    button("live").setAttribute("aria-pressed", String(on));
    said.hidden = !on;
    if (on) follow(running.signal);
  };
  // One request at a time: the next frame is taken when the last one is answered.
  const follow = async (signal) => {
    while (!signal.aborted) {
      try {
        const frame = drawnAt(video, LIVE_SIDE).toDataURL("image/jpeg", 0.8).split(",")[1];
        const [{ probabilities, order }] = await classify([frame], card(), signal);
        if (signal.aborted) return;
        said.replaceChildren(...order.slice(0, 3).map((at) =>
          el("li", {}, el("b", {}, card().labels[at]), ` ${percent(probabilities[at])}`,
            el("div", { class: "track", "aria-hidden": "true" }, meter(probabilities[at])))));
      } catch (error) {
        if (signal.aborted) return;
        said.replaceChildren(el("li", { class: "bad" }, error.title ?? error.message));
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };
  const deeds = {
    close: () => dialog.close(),
    retry: start,
    turn: () => {
      facing = facing === "user" ? "environment" : "user";
      start();
    },
    live: () => live(!running),
    take: () => drawnAt(video, Infinity).toBlob((photo) => {
      take(photo);
      announce("Photo taken");
      dialog.close();
    }, "image/jpeg", 0.95),
  };

  dialog.onclick = ({ target }) => deeds[target.value]?.();
  dialog.onclose = stop;
  dialog.showModal();
  start();
}
