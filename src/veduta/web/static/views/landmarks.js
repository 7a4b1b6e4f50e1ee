/** Browse the landmarks of a gallery: search, covers, pages, a map of the page; and the way to add one. */

import { listLandmarks, pictureUrl } from "../api.js";
import { hasPlace } from "../widgets/answer.js";
import { announce, button, count, fill, h, icon, later, problem } from "../dom.js";
import { PlaceMap } from "../widgets/map.js";
import { galleries, galleryToBrowse, isWritable, mayWrite } from "../session.js";

const PAGE = 48;

/** The hash address of a landmark's page, or of another page below the landmarks. */
export function landmarkAddress(id, gallery) {
  const suffix = galleries().length > 1 ? `?gallery=${encodeURIComponent(gallery)}` : "";
  return `#/landmarks/${encodeURIComponent(id)}${suffix}`;
}

export function landmarksView(main, _path, query) {
  const view = new LandmarksView(query);
  main.append(view.element);
  view.load();
  return () => view.destroy();
}

class LandmarksView {
  constructor(query) {
    this.gallery = galleryToBrowse(query.get("gallery"));
    this.search = query.get("search") ?? "";
    this.offset = Math.max(0, Number(query.get("offset")) || 0);
    this.grid = h("ul", { class: "tiles" });
    this.pager = h("nav", { class: "row center pager", "aria-label": "Pages" });
    this.mapBox = h("div", {});
    this.total = h("p", { class: "soft", role: "status" });
    this.element = h("div", { class: "view" }, this.head(), this.controls(), this.total, this.mapBox, this.grid, this.pager);
  }

  destroy() {
    this.controller?.abort();
    this.map?.destroy();
  }

  head() {
    const { gallery } = this;
    const add = `#/add${galleries().length > 1 ? `?gallery=${encodeURIComponent(gallery)}` : ""}`;
    const link = h("a", { class: "button main", href: add, data: { testid: "add-landmark" } }, icon("plus"), "Add a landmark");
    return h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Landmarks"), mayWrite(gallery) ? link : writingNote(gallery));
  }

  controls() {
    const changed = later(() => this.seek(field.value), 220);
    const field = h("input", { id: "search", type: "search", value: this.search, placeholder: "Search by name", autocomplete: "off",
      data: { testid: "landmark-search" }, oninput: changed });
    this.mapToggle = button("Map of these", { name: "pin", "aria-expanded": false, onclick: () => this.toggleMap() });
    return h("div", { class: "controls", role: "search" },
      h("label", { class: "hidden", for: "search" }, "Search the landmarks"), field,
      galleryChoice(this.gallery, (name) => (location.hash = `#/landmarks?gallery=${encodeURIComponent(name)}`)), this.mapToggle);
  }

  seek(text, offset = 0) {
    this.search = text.trim();
    this.offset = offset;
    const query = new URLSearchParams({ ...(galleries().length > 1 && { gallery: this.gallery }),
      ...(this.search && { search: this.search }), ...(offset && { offset }) });
    history.replaceState(null, "", `#/landmarks${query.size ? `?${query}` : ""}`);
    this.load();
  }

  async load() {
    this.controller?.abort();
    this.controller = new AbortController();
    const { gallery, search, offset } = this;
    try {
      const page = await listLandmarks(gallery, { search, offset, limit: PAGE }, this.controller.signal);
      this.show(page);
    } catch (error) {
      if (error.name !== "AbortError") fill(this.grid, h("li", { class: "whole" }, problem(error)));
    }
  }

  show({ landmarks, total }) {
    this.landmarks = landmarks;
    const text = total ? count(total, "landmark") : this.search ? `No landmark is called “${this.search}”` : "No landmarks yet";
    fill(this.total, text);
    fill(this.grid, landmarks.map((landmark) => tile(landmark, this.gallery)));
    this.mapToggle.hidden = !landmarks.some(hasPlace);
    this.page(total);
    if (this.map) this.openMap();
  }

  page(total) {
    const last = Math.min(this.offset + PAGE, total);
    if (total <= PAGE) return fill(this.pager);
    const turn = (offset) => {
      this.seek(this.search, offset);
      window.scrollTo({ top: 0 });
      announce(`Landmarks from ${offset + 1}`);
    };
    return fill(this.pager,
      button("Previous page", { name: "back", disabled: this.offset === 0, onclick: () => turn(Math.max(0, this.offset - PAGE)) }),
      h("span", { class: "soft" }, `${this.offset + 1}–${last} of ${total}`),
      button("Next page", { name: "next", disabled: last >= total, onclick: () => turn(this.offset + PAGE) }));
  }

  toggleMap() {
    if (this.map) {
      this.map.destroy();
      this.map = null;
    } else this.openMap();
    this.mapToggle.setAttribute("aria-expanded", String(Boolean(this.map)));
  }

  openMap() {
    this.map?.destroy();
    const spots = this.landmarks.filter(hasPlace).map((one) => ({ ...one, href: landmarkAddress(one.id, this.gallery) }));
    if (!spots.length) return (this.map = null);
    this.map = new PlaceMap(spots, `Map of ${spots.length} landmarks`);
    return this.mapBox.append(this.map.element);
  }
}

function tile(landmark, gallery) {
  const cover = landmark.cover
    ? h("img", { src: pictureUrl(landmark.cover, gallery), alt: "", loading: "lazy", decoding: "async" })
    : h("span", { class: "no-cover" }, icon("photo"));
  return h("li", {}, h("a", { class: "tile", href: landmarkAddress(landmark.id, gallery), data: { testid: "landmark-row" } },
    h("span", { class: "cover" }, cover), h("span", { class: "tile-name", dir: "auto" }, landmark.name),
    h("span", { class: "soft" }, count(landmark.references, "photo"))));
}

/** A menu of the galleries, or null if there is only one. */
export function galleryChoice(chosen, onChoose) {
  if (galleries().length < 2) return null;
  const options = galleries().map((one) => h("option", { value: one.name, selected: one.name === chosen }, one.name));
  return h("label", { class: "inline" }, h("span", {}, "Gallery"), h("select", { onchange: (event) => onChoose(event.target.value) }, options));
}

/** Why nothing can be changed here, in one line. */
export function writingNote(gallery) {
  if (!isWritable(gallery)) return h("p", { class: "soft" }, "This gallery can only be read here.");
  return h("p", { class: "soft" }, "To change landmarks, ", h("a", { href: "#/settings" }, "give the token"), ".");
}
