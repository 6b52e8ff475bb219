// A photo from the camera, in a dialog. Fetched when it is first asked for.

import { $, el } from "./dom.js";
import { toBlob } from "./picture.js";

const WORDS = {
  NotAllowedError: "The browser may not use the camera. Allow it in the address bar, then try again.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

// Resolves to a JPEG blob, or null if the dialog was closed.
export async function takePhoto() {
  const dialog = $("#viewfinder"), video = dialog.querySelector("video"), notice = dialog.querySelector(".notice");
  const take = dialog.querySelector("[value=take]");
  let facing = "environment";

  const stop = () => video.srcObject?.getTracks().forEach((track) => track.stop());
  const start = async () => {
    stop();
    notice.hidden = true;
    take.disabled = true;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, width: { ideal: 1920 } } });
      await video.play();
      take.disabled = false;
      take.focus();
    } catch (error) {
      if (error.name === "AbortError") return;
      notice.textContent = WORDS[error.name] ?? `The camera does not work: ${error.name}.`;
      notice.hidden = false;
    }
  };

  dialog.showModal();
  start();
  return new Promise((resolve) => {
    let photo = null;
    dialog.onclick = async ({ target }) => {
      if (target.value === "turn") {
        facing = facing === "user" ? "environment" : "user";
        await start();
      } else if (target.value === "take") {
        const sheet = el("canvas", { width: video.videoWidth, height: video.videoHeight });
        sheet.getContext("2d").drawImage(video, 0, 0);
        photo = await toBlob(sheet, "image/jpeg", 0.95);
        dialog.close();
      } else if (target.value === "close") dialog.close();
    };
    dialog.onclose = () => {
      stop();
      resolve(photo);
    };
  });
}
