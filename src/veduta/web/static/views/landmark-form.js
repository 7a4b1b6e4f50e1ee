/** The fields of a landmark, and the page that adds one. */

import { forgetNames, getLandmark, putLandmark } from "../api.js";
import { announce, fill, h, icon, problem } from "../dom.js";
import { galleryChoice, landmarkAddress, writingNote } from "./landmarks.js";
import { freeId } from "../widgets/landmark-picker.js";
import { galleryToBrowse, mayWrite } from "../session.js";
import { addReferences, photoField, uploadReport } from "../widgets/uploads.js";

let serial = 0;

/** A labelled input. */
export function field(label, props, hint = "") {
  const id = `field-${++serial}`;
  const input = h("input", { id, "aria-describedby": hint ? `${id}-hint` : null, ...props });
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input,
    hint ? h("p", { class: "soft hint", id: `${id}-hint` }, hint) : null);
  return { element, input };
}

/** Name, place and address of a landmark; `read` gives them as the server takes them. */
export function landmarkFields(landmark = {}) {
  const name = field("Name", { name: "name", required: true, autocomplete: "off", value: landmark.name ?? "" });
  const degrees = (most) => ({ type: "number", step: "any", min: -most, max: most, inputmode: "text" });
  const latitude = field("Latitude", { name: "latitude", ...degrees(90), value: landmark.latitude ?? "", placeholder: "41.8986" });
  const longitude = field("Longitude", { name: "longitude", ...degrees(180), value: landmark.longitude ?? "", placeholder: "12.4769" });
  const url = field("Web address", { name: "url", type: "url", pattern: "https?://.*", value: landmark.url ?? "", placeholder: "https://" });
  const number = (input) => (input.value.trim() === "" ? null : input.valueAsNumber);
  const pair = () => {
    const half = Boolean(latitude.input.value) !== Boolean(longitude.input.value);
    longitude.input.setCustomValidity(half ? "Give both latitude and longitude, or neither." : "");
  };
  for (const { input } of [latitude, longitude]) input.addEventListener("input", pair);
  return {
    element: h("div", { class: "fields" }, name.element, h("div", { class: "pair" }, latitude.element, longitude.element), url.element),
    read: () => ({ name: name.input.value.trim(), latitude: number(latitude.input), longitude: number(longitude.input),
      url: url.input.value.trim() || null }),
  };
}

/** The page that adds a landmark with its photos. */
export function newLandmarkView(main, _path, query) {
  const gallery = galleryToBrowse(query.get("gallery"));
  const title = h("h1", { tabindex: -1 }, "Add a landmark");
  const view = h("div", { class: "view narrow" },
    h("p", { class: "crumbs" }, h("a", { href: `#/landmarks?gallery=${encodeURIComponent(gallery)}` }, icon("back"), "All landmarks")), title);
  main.append(view);
  view.append(mayWrite(gallery) ? form(gallery) : writingNote(gallery));
}

function form(gallery) {
  let files = [];
  const fields = landmarkFields();
  const id = field("Id", { name: "id", autocomplete: "off" }, "Left empty, it is made from the name.");
  const photos = photoField((chosen) => (files = chosen));
  const notes = h("div", { class: "notes" });
  const submit = h("button", { type: "submit", class: "button main" }, "Add the landmark");
  const choice = galleryChoice(gallery, (name) => (location.hash = `#/add?gallery=${encodeURIComponent(name)}`));
  const save = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await addLandmark({ gallery, id: id.input.value.trim(), facts: fields.read(), files, notes });
    } catch (error) {
      fill(notes, problem(error));
    } finally {
      submit.disabled = false;
    }
  };
  return h("form", { class: "sheet", onsubmit: save, data: { testid: "add-landmark-form" } }, choice, fields.element,
    h("div", { class: "field" }, h("p", { class: "label" }, "Photos"), photos,
      h("p", { class: "soft hint" }, "One will do; a handful from different sides is better. Nothing needs training.")),
    h("details", {}, h("summary", {}, "An id of your own"), id.element), notes, h("div", { class: "row end" }, submit));
}

async function addLandmark({ gallery, id, facts, files, notes }) {
  if (!files.length) throw new Error("Choose at least one photo that shows it.");
  if (id && await exists(gallery, id)) throw new Error(`${id}: there is a landmark of that id already; choose another id.`);
  const landmark = id || await freeId(gallery, facts.name);
  fill(notes, h("p", { role: "status" }, "Adding …"));
  await putLandmark(gallery, landmark, facts);
  const report = await addReferences({ gallery, landmark, files });
  forgetNames();
  announce(`${facts.name} added`);
  if (!report.failures.length) location.hash = landmarkAddress(landmark, gallery);
  else fill(notes, uploadReport(report), h("p", {}, h("a", { href: landmarkAddress(landmark, gallery) }, `See ${facts.name}`)));
}

async function exists(gallery, id) {
  try {
    await getLandmark(gallery, id);
    return true;
  } catch (error) {
    if (error.code === 404) return false;
    throw error;
  }
}
