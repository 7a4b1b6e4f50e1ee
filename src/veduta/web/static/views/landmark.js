/** One landmark: its references, its place, and what can be changed about it. */

import { deleteLandmark, deleteReference, forgetNames, getLandmark, listReferences, pictureUrl, putLandmark } from "../api.js";
import { hasPlace, placeLine } from "../widgets/answer.js";
import { announce, button, count, fill, h, icon, problem } from "../dom.js";
import { ask, confirmLoss } from "../widgets/dialog.js";
import { landmarkFields } from "./landmark-form.js";
import { writingNote } from "./landmarks.js";
import { PlaceMap } from "../widgets/map.js";
import { galleryToBrowse, mayWrite } from "../session.js";
import { acceptDrops, addReferences, photoField, uploadReport } from "../widgets/uploads.js";

const PAGE = 60;

export async function landmarkView(main, path, query) {
  const view = new LandmarkView(path[1], galleryToBrowse(query.get("gallery")));
  main.append(view.element);
  await view.load();
  return () => view.destroy();
}

class LandmarkView {
  constructor(id, gallery) {
    Object.assign(this, { id, gallery, references: [], total: 0 });
    this.header = h("div", { class: "header" }, h("h1", { tabindex: -1 }, "…"));
    this.place = h("div", {});
    this.tally = h("h2", {});
    this.grid = h("ul", { class: "references" });
    this.more = h("div", { class: "row center" });
    this.adding = h("div", {});
    this.notes = h("div", { class: "notes" });
    this.element = h("div", { class: "view" },
      h("p", { class: "crumbs" }, h("a", { href: `#/landmarks?gallery=${encodeURIComponent(gallery)}` }, icon("back"), "All landmarks")),
      this.header, this.place, this.notes, h("section", { class: "block" }, this.tally, this.grid, this.more, this.adding));
  }

  destroy() {
    this.gone = true;
    this.map?.destroy();
  }

  async load() {
    try {
      this.landmark = await getLandmark(this.gallery, this.id);
      if (this.gone) return;
      this.showHead();
      this.showAdding();
      await this.loadMore(0);
    } catch (error) {
      fill(this.header, h("h1", { tabindex: -1 }, error.code === 404 ? "No such landmark" : "Landmark"), problem(error));
    }
  }

  showHead() {
    const { landmark } = this;
    document.title = `${landmark.name} · Veduta`;
    const tools = mayWrite(this.gallery)
      ? h("div", { class: "row" }, button("Edit", { name: "edit", data: { testid: "edit-landmark" }, onclick: () => this.edit() }),
        button("Remove", { name: "bin", kind: "quiet", data: { testid: "remove-landmark" }, onclick: () => this.remove() }))
      : writingNote(this.gallery);
    fill(this.header, h("div", { class: "head" }, h("h1", { class: "name", tabindex: -1, dir: "auto", data: { testid: "landmark-name" } }, landmark.name), tools),
      placeLine(landmark), h("p", { class: "soft file" }, `Id ${landmark.id}`));
    this.map?.destroy();
    this.map = hasPlace(landmark) ? new PlaceMap([landmark], `Map: where ${landmark.name} is`) : null;
    fill(this.place, this.map?.element);
  }

  async loadMore(offset) {
    const page = await listReferences(this.gallery, this.id, offset, PAGE);
    if (this.gone) return;
    this.references = offset ? [...this.references, ...page.references] : page.references;
    this.total = page.total;
    this.showReferences();
  }

  showReferences() {
    fill(this.tally, count(this.total, "reference"));
    fill(this.grid, this.references.map((reference) => this.reference(reference)));
    const rest = this.total - this.references.length;
    fill(this.more, rest > 0 && button(`Show more (${rest})`, { onclick: () => this.loadMore(this.references.length) }));
  }

  reference({ id }) {
    const large = pictureUrl(id, this.gallery, "large");
    const image = h("img", { src: pictureUrl(id, this.gallery), alt: `Reference ${id}`, loading: "lazy", decoding: "async" });
    const remove = mayWrite(this.gallery) && button(`Remove the reference ${id}`, { name: "bin", kind: "corner", bare: true,
      data: { testid: "remove-reference" }, onclick: () => this.removeReference(id) });
    return h("li", { data: { testid: "reference" } }, h("a", { href: large, target: "_blank", rel: "noopener", title: id }, image), remove);
  }

  showAdding() {
    if (!mayWrite(this.gallery)) return;
    const field = photoField((files) => this.add(files), { label: "Add photos" });
    fill(this.adding, field);
    acceptDrops(this.element, (files) => this.add([...files]));
  }

  async add(files) {
    const progress = h("progress", { max: files.length, value: 0, "aria-label": "Photos added" });
    fill(this.notes, h("p", { role: "status" }, `Adding ${count(files.length, "photo")} …`), progress);
    try {
      const onProgress = (sent) => (progress.value = sent);
      const report = await addReferences({ gallery: this.gallery, landmark: this.id, files, onProgress });
      fill(this.notes, uploadReport(report));
      await this.loadMore(0);
    } catch (error) {
      fill(this.notes, problem(error));
    }
  }

  async edit() {
    const fields = landmarkFields(this.landmark);
    const changed = await ask({ title: "Edit the landmark", body: [fields.element], yes: "Save",
      act: () => putLandmark(this.gallery, this.id, fields.read()) });
    if (!changed) return;
    forgetNames();
    this.landmark = { ...this.landmark, ...changed };
    this.showHead();
    announce("Saved");
    this.header.querySelector("button")?.focus();
  }

  async remove() {
    const { landmark } = this;
    const done = await confirmLoss({ title: `Remove ${landmark.name}?`, yes: "Remove it", act: () => deleteLandmark(this.gallery, this.id),
      text: `The landmark and its ${count(this.total, "reference")} are taken out of the gallery ${this.gallery}. This cannot be undone.` });
    if (!done) return;
    forgetNames();
    announce(`${landmark.name} removed`);
    location.hash = `#/landmarks?gallery=${encodeURIComponent(this.gallery)}`;
  }

  async removeReference(id) {
    const image = h("img", { class: "preview", src: pictureUrl(id, this.gallery), alt: "" });
    const done = await confirmLoss({ title: "Remove this reference?", yes: "Remove it", act: () => deleteReference(this.gallery, id),
      text: h("span", {}, image, h("span", { class: "file" }, `${id} is taken out of the gallery. This cannot be undone.`)) });
    if (!done) return;
    this.references = this.references.filter((one) => one.id !== id);
    this.total -= 1;
    this.showReferences();
    announce("Reference removed");
    this.grid.querySelector("button")?.focus();
  }
}
