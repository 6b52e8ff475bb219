// Failure: what went wrong with a request or a picture, in words, and what to do about it.
// One entry for each code of the function's errors, and for what a gateway or a browser answers.

const OURS = ["The request is not valid", "This is a fault of the page. Reload it, then try again."];
const MOVED = ["This model is no longer there", "The deployment has changed. Reload this page."];
const LARGE = ["The file is too large", "Turn off “Send every byte as it is”, or choose a smaller picture."];
const LATE = ["The function did not answer in time", "The picture was sent. Try again: the first call after a pause takes longest."];
const LOCKED = ["The API needs a key", "Enter an API key below. It stays in this tab, and goes to this API alone."];

const WORDS = {
  ...Object.fromEntries(["invalid_request", "invalid_json", "unsupported_event", "method_not_allowed"].map((code) => [code, OURS])),
  missing_image: ["The file is empty", "Choose another file."],
  invalid_url: ["This address cannot be used", "Enter the https:// address of a picture that is open to everyone."],
  route_not_found: MOVED,
  model_not_found: MOVED,
  image_too_large: LARGE,
  too_many_pixels: ["The picture has too many pixels", "Choose a smaller one."],
  too_many_images: ["Too many images in one request", "Send fewer at once."],
  unsupported_format: ["This is not a picture that can be read", "JPEG, PNG, WebP, GIF and BMP work everywhere. Save the picture as one of these."],
  undecodable_image: ["The picture is damaged", "It may have been cut short. Download or save it again."],
  fetch_failed: ["The picture could not be downloaded", "Its address must open without a login. Or save the picture and choose the file."],
  deadline_exceeded: ["It took too long", "The picture's host may be slow. Try again, or save the picture and choose the file."],
  internal_error: ["The function failed", "The function's log has the details."],
  model_not_named: ["No model was named", "Choose one."],
  answer_too_large: ["The answer is too large", "Send fewer images at once."],
  results_not_kept: ["The function is not set up for this", "Set RESULTS_PREFIX."],
};

const STATUSES = {
  401: LOCKED,
  403: LOCKED,
  404: MOVED,
  413: LARGE,
  429: ["Too many requests at once", "Wait a moment, then try again."],
  502: ["The function did not answer", "It may have run out of memory. Try again, or choose a smaller picture."],
  503: LATE,
  504: LATE,
};

// Of these the same picture fails again.
const FINAL = ["unsupported_format", "undecodable_image", "missing_image", "too_many_pixels", "invalid_url", "image_too_large", "unreadable"];

// What can be done with files that neither the browser nor the function reads.
const REMEDIES = {
  heic: "This browser cannot open HEIC. On an iPhone choose Settings, Camera, Formats, Most Compatible; or save the photo as JPEG.",
  tiff: "This browser cannot open TIFF. Save the picture as PNG or JPEG.",
  pdf: "This is a PDF document. Save the page as PNG or JPEG.",
  other: "Its content is not a picture of a kind that this browser opens, whatever its name says.",
};

export class Failure extends Error {
  // code: stable, for people who look it up; advice: what to do; message: the function's own words.
  constructor(code, title, advice, message = "", request = "") {
    super(message);
    Object.assign(this, { code, title, advice, request, final: FINAL.includes(code), locked: advice === LOCKED[1] });
  }

  static of(status, body, request) {
    const { code, message } = body?.error ?? {};
    if (code in WORDS) return new Failure(code, ...WORDS[code], message, request);
    const words = STATUSES[status] ?? ["The server did not answer as expected", "Try again. If it happens again, look at the server's log."];
    return new Failure(`HTTP ${status}`, ...words, message ?? body?.message ?? "", request);
  }

  static offline() {
    const what = navigator.onLine ? ["The server cannot be reached", "It may have stopped, or its address may have changed."]
      : ["You are offline", "The picture is kept here: try again when the connection is back."];
    return new Failure("offline", ...what);
  }

  static silent = () => new Failure("no_answer", ...LATE);

  static stalled = () =>
    new Failure("upload_stalled", "The upload has stopped", "The connection is slow or was lost. Try again, or send a smaller copy.");

  static unreadable = (kind) => new Failure("unreadable", "This picture cannot be read", REMEDIES[kind] ?? REMEDIES.other);

  static page = (error) => new Failure("page", "The page failed", "Reload it.", error.message);
}
