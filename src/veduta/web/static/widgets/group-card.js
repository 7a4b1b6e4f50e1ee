/** One group of photos that show the same place: its pictures, a field for the name, and the way to take that back. */

import { deleteGroupName, forgetNames, groupPicture, postNames } from "../api.js";
import { coordinates } from "./answer.js";
import { announce, button, count, fill, h, problem } from "../dom.js";
import { LandmarkPicker } from "./landmark-picker.js";

const FEW = 12;

export class GroupCard {
  /** @param {object} group @param {string} gallery @param {(card: GroupCard, by: number) => void} onChange by: of the unnamed */
  constructor(group, gallery, onChange) {
    const others = group.landmark ? group.photos.filter((photo) => !photo.named) : [];
    Object.assign(this, { group, gallery, onChange, without: new Set(others.map((photo) => photo.sha256)), urls: [] });
    this.controller = new AbortController();
    const heading = `group-${group.group}`;
    this.title = h("h2", { id: heading, class: "name", tabindex: -1, dir: "auto" });
    this.pictures = h("ul", { class: "references group-photos", "aria-label": "Photos of this place" });
    this.body = h("div", { class: "fields" });
    this.failed = h("div", { class: "notes" });
    this.element = h("article", { class: "card group", "aria-labelledby": heading, data: { testid: "group" } },
      h("div", { class: "header" }, this.title, h("p", { class: "soft" }, this.facts())), this.pictures, this.failed, this.body);
    this.watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.load(), { rootMargin: "600px" });
    this.watcher.observe(this.element);
    this.show();
  }

  destroy() {
    this.controller.abort();
    this.watcher.disconnect();
    this.urls.forEach((url) => URL.revokeObjectURL(url));
  }

  /** Put the focus where the next thing is done: the field of the name, or the heading of a group that has one. */
  focus() {
    (this.picker?.input ?? this.title).focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  facts() {
    const { photos, position } = this.group;
    const days = photos.map((one) => one.taken).filter(Boolean).sort();
    return [count(photos.length, "photo"), days.length && between(days[0], days.at(-1)), position && coordinates(...position)]
      .filter(Boolean).join(" · ");
  }

  show(message = "") {
    const { landmark } = this.group;
    this.element.classList.toggle("is-named", Boolean(landmark));
    fill(this.title, landmark ? landmark.name : `Place ${this.group.group}`);
    this.showPictures(FEW);
    fill(this.failed);
    fill(this.body, landmark ? this.outcome(message) : this.form(message));
  }

  // --- pictures ---

  load() {
    this.watcher.disconnect();
    this.seen = true;
    this.showPictures(this.shown);
  }

  showPictures(most) {
    this.shown = most;
    const { photos } = this.group;
    const rest = photos.length - most;
    const more = rest > 0 && h("li", { class: "rest" }, button(`Show ${rest} more`, { onclick: () => {
      this.showPictures(photos.length);
      this.pictures.children[most].querySelector("button, img")?.focus();
    } }));
    const items = photos.slice(0, most).map((photo) => (photo.item ??= this.item(photo)));
    if (this.seen) photos.slice(0, most).forEach((photo) => this.fetchPicture(photo));
    fill(this.pictures, items, more);
  }

  item(photo) {
    photo.image = h("img", { alt: photo.name, title: photo.name, decoding: "async" });
    photo.cross = h("span", {});
    const item = h("li", { data: { testid: "group-photo" } }, photo.image, photo.cross);
    const paint = (focus) => {
      const out = this.without.has(photo.sha256);
      item.classList.toggle("left-out", out);
      const label = `${out ? "Put back" : "Leave out"} ${photo.name}`;
      fill(photo.cross, button(label, { name: out ? "again" : "close", kind: "corner", bare: true, data: { testid: "leave-out" }, onclick: () => {
        if (out) this.without.delete(photo.sha256);
        else this.without.add(photo.sha256);
        paint(true);
        this.count();
      } }), out && h("span", { class: "tag" }, "Left out"));
      if (focus) photo.cross.querySelector("button").focus();
    };
    paint(false);
    return item;
  }

  /** A picture needs the token, so it is fetched and shown from memory. */
  async fetchPicture(photo) {
    if (photo.fetched) return;
    photo.fetched = true;
    try {
      const url = URL.createObjectURL(await groupPicture(photo.sha256, this.controller.signal));
      this.urls.push(url);
      photo.image.src = url;
    } catch (error) {
      if (error.name !== "AbortError") fill(this.failed, problem(error));
    }
  }

  // --- the name ---

  form(message) {
    const { group } = this;
    this.picker = new LandmarkPicker({ gallery: this.gallery, allowNew: true, label: "What is this place called?" });
    this.also = h("input", { type: "checkbox", checked: true, data: { testid: "group-references" } });
    this.save = h("button", { type: "submit", class: "button main", data: { testid: "group-save" } });
    const guess = group.guess?.landmark;
    const use = guess && button(`Use ${guess.name}`, { name: "check", data: { testid: "group-guess" }, onclick: () => {
      this.picker.choose(guess);
      this.save.focus();
    } });
    const hint = guess && h("div", { class: "row" }, h("span", { class: "soft" },
      `Recognized as ${guess.name} in ${count(group.guess.photos, "photo")}.`), use);
    const also = h("label", { class: "check" }, this.also, `Also use the photos as references in ${this.gallery}`);
    this.count();
    return [message && h("p", { class: "done", role: "status" }, message),
      h("form", { class: "fields", onsubmit: (event) => this.submit(event) }, hint, this.picker.element, also, h("div", { class: "row" }, this.save))];
  }

  count() {
    const left = this.group.photos.length - this.without.size;
    this.save.disabled = !left;
    this.save.textContent = left ? `Name ${count(left, "photo")}` : "No photo is left to name";
  }

  async submit(event) {
    event.preventDefault();
    this.save.disabled = true;
    try {
      const { id, name } = await this.picker.value();
      const row = { group: this.group.group, name, id, without: [...this.without] };
      const { named, gallery } = await postNames({ names: [row], references: this.also.checked, gallery: this.gallery });
      forgetNames();
      this.named(named[0], gallery);
    } catch (error) {
      fill(this.failed, problem(error));
      this.count();
    }
  }

  named({ landmark, photos, added, failures }, gallery) {
    this.group.landmark = landmark;
    this.picker = null;
    const message = `${count(photos, "photo")} named${gallery ? `, ${count(added, "reference")} added to ${gallery}` : ""}.`;
    this.show(message);
    if (failures.length) fill(this.failed, failures.map((one) => problem({ message: one.error.message })));
    announce(`${landmark.name}: ${message}`);
    this.onChange(this, -1);
  }

  outcome(message) {
    const back = button("Take the name back", { name: "again", data: { testid: "group-forget" }, onclick: () => this.takeBack(back) });
    return [message && h("p", { class: "done" }, message), h("div", { class: "row" }, back)];
  }

  async takeBack(back) {
    back.disabled = true;
    try {
      const { photos, removed } = await deleteGroupName(this.gallery, this.group.group);
      forgetNames();
      this.group.landmark = null;
      const references = removed ? `, ${count(removed, "reference")} removed from ${this.gallery}` : "";
      this.show(`The name of ${count(photos, "photo")} was taken back${references}.`);
      announce(`The name of ${count(photos, "photo")} was taken back${references}.`);
      this.onChange(this, 1);
    } catch (error) {
      back.disabled = false;
      fill(this.failed, problem(error));
    }
  }
}

/** "May 3, 2019" or "May 3, 2019 – June 1, 2020", by the camera's clock. */
function between(first, last) {
  const format = new Intl.DateTimeFormat("en-US", { dateStyle: "medium" });
  return format.formatRange(new Date(first), new Date(last));
}
