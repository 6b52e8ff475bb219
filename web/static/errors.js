// What to tell people for each code of src/keras_to_lambda/runtime/errors.py, and for what a gateway or a browser
// answers by itself. The function's own message says what was wrong with this very image.

const OURS = ["The request is not right", "This page should not send such a thing, and does not know what to do about it."];

const MOVED = ["That is not here any more", "The deployment has changed: reload this page."];
const LARGE = ["The file is too large", "Turn off “Send every byte as it is”, or give a smaller picture."];

const WORDS = {
  ...Object.fromEntries(["invalid_request", "invalid_json", "unsupported_event", "method_not_allowed"].map((code) => [code, OURS])),
  missing_image: ["There is no image in that", "The file may be empty. Choose another one."],
  invalid_url: ["That address is not fetched", "Give the https:// address of a picture that anybody can open."],
  route_not_found: MOVED,
  model_not_found: MOVED,
  image_too_large: LARGE,
  too_many_pixels: ["The picture has too many pixels", "Give a smaller one."],
  too_many_images: ["Too many images in one request", "Give them a few at a time."],
  unsupported_format: ["Not a kind of image that is read here", "JPEG, PNG, WebP, GIF and BMP are. An iPhone's HEIC photo has to be saved as JPEG first."],
  undecodable_image: ["The image is damaged", "It may have been cut short on its way. Download or save it again."],
  fetch_failed: ["That picture could not be downloaded", "Its address must open in a private browser window, with no login. Or save it and drop the file here."],
  deadline_exceeded: ["It took too long", "The picture's host may be slow. Try again, or save the picture and drop the file here."],
  internal_error: ["The function failed", "Not your fault. The function's log has the details."],
  model_not_named: ["No model was named", "Choose one."],
  answer_too_large: ["The answer is too large", "Give fewer images at once."],
  results_not_kept: ["The function is not set up for that", "RESULTS_PREFIX is missing."],
};

const LATE = ["The function did not answer in time", "Try again; the first call after a pause takes longest."];

const STATUSES = {
  403: ["You may not use this", "The API wants a key or a signature that this page does not have."],
  404: MOVED,
  413: LARGE,
  429: ["Too many requests at once", "Wait a moment, then try again."],
  502: ["The function did not answer", "It may have run out of memory. Try again, or a smaller picture."],
  503: LATE,
  504: LATE,
};

export class Failure extends Error {
  // code: stable, for people who look it up; advice: what to do; message: the function's own words.
  constructor(code, title, advice, message = "", request = "") {
    super(message);
    Object.assign(this, { code, title, advice, request });
  }

  static of(status, body, request) {
    const { code, message } = body?.error ?? {};
    if (code in WORDS) return new Failure(code, ...WORDS[code], message, request);
    const words = STATUSES[status] ?? ["The server did not answer as expected", "Try again; if it stays, look at its log."];
    return new Failure(`HTTP ${status}`, ...words, message ?? body?.message ?? "", request);
  }

  static offline() {
    const what = navigator.onLine ? ["The server cannot be reached", "It may have been stopped, or its address changed."]
      : ["You are offline", "The image is still here: try again when the connection is back."];
    return new Failure("offline", ...what);
  }

  static silent = () => new Failure("no_answer", ...LATE);

  static unreadable = () =>
    new Failure("unreadable", "The browser cannot read that picture", "It cannot be scaled down here. Save it as JPEG or PNG first.");
}
