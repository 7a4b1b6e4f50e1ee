/** What can be done with a recognized photo: make it a reference, or keep it for review. */

import { forgetNames, postReview } from "../api.js";
import { announce, fill, h } from "../dom.js";
import { ask } from "./dialog.js";
import { LandmarkPicker } from "./landmark-picker.js";
import { addReferences, uploadReport } from "./uploads.js";

/** Ask for a landmark and add the photo to it; the result is shown in `notes`. */
export async function addAsReference(job, notes) {
  const { answer, file } = job;
  const picker = new LandmarkPicker({ gallery: answer.gallery, allowNew: true, label: "It shows", chosen: answer.landmark });
  const text = h("p", { class: "soft" }, `The photo is kept in the gallery ${answer.gallery} and helps to recognize the place from now on.`);
  const result = await ask({ title: "Add this photo as a reference", body: [text, picker.element], yes: "Add it", act: async () => {
    const { id, name, isNew } = await picker.value();
    const added = await addReferences({ gallery: answer.gallery, landmark: id, name: isNew ? name : undefined, files: [file] });
    forgetNames();
    return { ...added, id, name };
  } });
  if (!result) return;
  const link = h("a", { href: `#/landmarks/${encodeURIComponent(result.id)}?gallery=${encodeURIComponent(answer.gallery)}` }, result.name);
  fill(notes, uploadReport(result), h("p", { class: "soft" }, "See ", link, "."));
}

/** Keep a photo for review. */
export async function keepForReview(job, notes) {
  const { failures } = await postReview(job.answer.gallery, [job.file]);
  if (failures?.length) throw new Error(failures[0].error.message);
  fill(notes, h("p", { class: "done", role: "status" }, "Kept for ", h("a", { href: "#/review" }, "review"), "."));
  announce("Kept for review");
}
