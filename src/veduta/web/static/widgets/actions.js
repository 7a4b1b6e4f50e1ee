/** What can be done with a recognized photo: make it a reference, or keep it for review. */

import { forgetNames, postReview } from "../api.js";
import { announce, fill, h } from "../dom.js";
import { ask } from "./dialog.js";
import { LandmarkPicker } from "./landmark-picker.js";
import { galleries, galleryToAdd, mayWrite, save } from "../session.js";
import { addReferences, uploadReport } from "./uploads.js";

/**
 * Ask for a gallery and a landmark, and add the photo; the result is shown in `notes`.
 * @returns {Promise<string>} the gallery that has the photo now, or "" where none has
 */
export async function addAsReference(job, notes) {
  const { answer, file } = job;
  let gallery = galleryToAdd(answer.gallery);
  const known = () => (gallery === answer.gallery ? answer.landmark : null);
  const picker = new LandmarkPicker({ gallery, allowNew: true, label: "It shows", chosen: known() });
  const choice = galleryField(gallery, (name) => {
    gallery = name;
    picker.turn(name, known());
  });
  const where = choice ? "the gallery" : `the gallery ${gallery}`;
  const text = h("p", { class: "soft" }, `The photo is kept in ${where} and helps to recognize the place from now on.`);
  const result = await ask({ title: "Add this photo as a reference", body: [text, choice, picker.element], yes: "Add it", act: async () => {
    const chosen = gallery;
    const { id, name, isNew } = await picker.value();
    const added = await addReferences({ gallery: chosen, landmark: id, name: isNew ? name : undefined, files: [file] });
    forgetNames();
    save({ lastAdded: chosen });
    return { ...added, id, name, gallery: chosen };
  } });
  if (!result) return "";
  const link = h("a", { href: `#/landmarks/${encodeURIComponent(result.id)}?gallery=${encodeURIComponent(result.gallery)}` }, result.name);
  const place = galleries().length > 1 ? ` in the gallery ${result.gallery}.` : ".";
  fill(notes, uploadReport(result), h("p", { class: "soft" }, "See ", link, place));
  return result.failures.length ? "" : result.gallery;
}

/** A field for the gallery that a photo goes to, or null where only one can be changed. */
function galleryField(chosen, onChoose) {
  const names = galleries().map((one) => one.name).filter(mayWrite);
  if (names.length < 2) return null;
  const options = names.map((name) => h("option", { value: name, selected: name === chosen }, name));
  const select = h("select", { data: { testid: "reference-gallery" }, onchange: (event) => onChoose(event.target.value) }, options);
  return h("label", { class: "field" }, h("span", { class: "label" }, "Gallery"), select);
}

/** Keep a photo for review. */
export async function keepForReview(job, notes) {
  const { failures } = await postReview(job.answer.gallery, [job.file]);
  if (failures?.length) throw new Error(failures[0].error.message);
  fill(notes, h("p", { class: "done", role: "status" }, "Kept for ", h("a", { href: "#/review" }, "review"), "."));
  announce("Kept for review");
}
