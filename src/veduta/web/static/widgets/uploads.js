/** Adding photos to a landmark, in as many requests as the server's limits need. */

import { postReferences } from "../api.js";
import { count, fill, h, icon } from "../dom.js";
import { session } from "../session.js";

/**
 * Add photos as references of a landmark.
 * @returns {Promise<{added: object[], skipped: number, failures: {photo: string, error: object}[]}>}
 */
export async function addReferences({ gallery, landmark, name, files, onProgress }) {
  const sum = { added: [], skipped: 0, failures: [] };
  let sent = 0;
  for (const photos of portions([...files], sum.failures)) {
    onProgress?.(sent, files.length);
    const body = await postReferences({ photos, landmark, name, gallery });
    sum.added.push(...body.added);
    sum.skipped += body.skipped;
    sum.failures.push(...body.failures);
    sent += photos.length;
  }
  onProgress?.(files.length, files.length);
  return sum;
}

/** Split files so that no request is larger than the server takes; what can never be sent becomes a failure. */
function portions(files, failures) {
  const { photos = 16, photo_bytes = Infinity, body_bytes = Infinity } = session.server?.limits ?? {};
  const parts = [];
  let bytes = Infinity;
  for (const file of files) {
    if (file.size > photo_bytes) {
      failures.push({ photo: file.name, error: { message: "larger than this server takes" } });
      continue;
    }
    bytes += file.size + 1024;
    if (bytes > body_bytes || parts.at(-1).length >= photos) {
      parts.push([]);
      bytes = file.size + 1024;
    }
    parts.at(-1).push(file);
  }
  return parts;
}

/** What became of the photos, as elements. */
export function uploadReport({ added, skipped, failures }) {
  const line = [`${count(added.length, "photo")} added`, skipped && `${skipped} known already`].filter(Boolean).join(", ");
  const failed = failures.map((one) => h("li", {}, h("strong", {}, one.photo), `: ${one.error.message}`));
  return h("div", { class: failures.length ? "problem" : "done", role: "status" }, h("p", {}, `${line}.`),
    failed.length ? h("ul", {}, failed) : null);
}

/** A place to drop or choose photos for a landmark; `onFiles` gets them. */
export function photoField(onFiles, { label = "Choose photos", required = false } = {}) {
  const chosen = h("span", { class: "soft" });
  const input = h("input", { type: "file", accept: "image/*,.heic,.heif", multiple: true, required, class: "hidden-input",
    data: { testid: "reference-input" }, onchange: () => take(input.files) });
  const take = (files) => {
    if (!files.length) return;
    fill(chosen, count(files.length, "photo"));
    onFiles([...files]);
  };
  const zone = h("div", { class: "small-zone" },
    h("label", { class: "button" }, icon("photo"), label, input), h("span", { class: "soft" }, "or drop them here"), chosen);
  acceptDrops(zone, take);
  return zone;
}

/** Let files be dropped on an element. */
export function acceptDrops(element, take) {
  let depth = 0;
  const over = (change) => element.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
  element.addEventListener("dragenter", () => over(1));
  element.addEventListener("dragleave", () => over(-1));
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(-Infinity);
    take(event.dataTransfer.files);
  });
}
