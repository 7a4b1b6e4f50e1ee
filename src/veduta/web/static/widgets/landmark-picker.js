/** Choose a landmark by typing a part of its name; optionally a new one. A combobox with a list of results. */

import { getLandmark, listLandmarks } from "../api.js";
import { fill, h, later } from "../dom.js";

let serial = 0;

export class LandmarkPicker {
  /**
   * @param {{gallery: string, label?: string, allowNew?: boolean, chosen?: {id: string, name: string} | null,
   *   onChange?: (chosen: {id: string, name: string, isNew: boolean} | null) => void}} options
   */
  constructor({ gallery, label = "Landmark", allowNew = false, chosen = null, onChange = () => {} }) {
    Object.assign(this, { gallery, allowNew, onChange, options: [], active: -1, chosen: null });
    const id = `picker-${++serial}`;
    this.list = h("ul", { id: `${id}-list`, role: "listbox", class: "results", "aria-label": label, hidden: true });
    this.input = h("input", { id, type: "text", role: "combobox", autocomplete: "off", required: true, "aria-expanded": false,
      "aria-controls": `${id}-list`, "aria-autocomplete": "list", placeholder: "Type a part of its name", data: { testid: "picker-input" },
      oninput: () => this.typed(), onkeydown: (event) => this.key(event), onfocus: () => this.search(),
      onblur: () => this.left() });
    this.search = later(() => this.find(), 160);
    this.element = h("div", { class: "picker field" }, h("label", { for: id }, label), this.input, this.list);
    if (chosen) this.choose(chosen);
    else this.check();
  }

  focus() {
    this.input.focus();
  }

  /** The landmark chosen: {id, name, isNew}; a new one's id is looked for here. */
  async value() {
    if (!this.chosen?.isNew) return this.chosen;
    return { ...this.chosen, id: await freeId(this.gallery, this.chosen.name) };
  }

  /** Search another gallery; what was chosen in the one before is given up, its name stays. */
  turn(gallery, chosen = null) {
    Object.assign(this, { gallery, options: [] });
    if (chosen) this.choose(chosen);
    else this.clear();
  }

  typed() {
    this.clear();
    this.search();
  }

  clear() {
    this.chosen = null;
    this.check();
    this.onChange(null);
  }

  check() {
    this.input.setCustomValidity(this.chosen ? "" : "Choose a landmark from the list.");
  }

  async find() {
    const text = this.input.value.trim();
    if (this.chosen || document.activeElement !== this.input) return;
    const page = await listLandmarks(this.gallery, { search: text, limit: 8 }).catch(() => ({ landmarks: [] }));
    if (this.chosen || text !== this.input.value.trim()) return;
    this.options = page.landmarks;
    const known = this.options.some((one) => one.name.toLowerCase() === text.toLowerCase());
    if (this.allowNew && text && !known) this.options = [...this.options, { id: "", name: text, isNew: true }];
    this.render();
  }

  render() {
    this.active = -1;
    const items = this.options.map((one, i) => h("li", { id: `${this.list.id}-${i}`, role: "option", "aria-selected": false,
      onpointerdown: (event) => event.preventDefault(), onclick: () => this.choose(one) },
      one.isNew ? `New landmark “${one.name}”` : one.name, !one.isNew && h("span", { class: "soft" }, ` ${one.id}`)));
    fill(this.list, items.length ? items : h("li", { class: "soft", role: "option", "aria-disabled": true, "aria-selected": false }, "No landmark of that name"));
    this.open(true);
  }

  open(shown) {
    this.list.hidden = !shown;
    this.input.setAttribute("aria-expanded", String(shown));
    if (!shown) this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      event.preventDefault();
      if (this.list.hidden) this.find();
      else this.mark((this.active + steps[event.key] + this.options.length) % this.options.length);
    } else if (event.key === "Enter" && !this.list.hidden && this.options.length && (this.active >= 0 || this.input.value.trim())) {
      event.preventDefault();
      this.choose(this.options[Math.max(this.active, 0)]);
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      this.open(false);
    }
  }

  mark(index) {
    [...this.list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
    this.active = index;
    const item = this.list.children[index];
    item?.scrollIntoView({ block: "nearest" });
    if (item) this.input.setAttribute("aria-activedescendant", item.id);
  }

  left() {
    const text = this.input.value.trim().toLowerCase();
    const same = this.options.filter((one) => one.name.toLowerCase() === text);
    if (!this.chosen && text && same.length === 1) this.choose(same[0]);
    this.open(false);
  }

  choose(landmark) {
    this.chosen = { id: landmark.id, name: landmark.name, isNew: Boolean(landmark.isNew) };
    this.input.value = landmark.name;
    this.check();
    this.open(false);
    this.onChange(this.chosen);
  }
}

/** An id for a new landmark, from its name and not taken, as the command line makes it: "Sacré-Cœur" becomes "sacré-cœur". */
export async function freeId(gallery, name) {
  const plain = name.normalize("NFC").toLowerCase();
  const base = plain.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || name.trim();
  for (let n = 1; n < 100; n++) {
    const id = n === 1 ? base : `${base}-${n}`;
    try {
      await getLandmark(gallery, id);
    } catch (error) {
      if (error.code === 404) return id;
      throw error;
    }
  }
  throw new Error(`${name}: there are too many landmarks of that name; give it an id of your own.`);
}
