/** Photos kept for review: is the answer right, does it show something else, or nothing known? And places to name. */

import { listReview } from "../api.js";
import { announce, button, count, fill, h, isTyping, problem } from "../dom.js";
import { galleryChoice } from "./landmarks.js";
import { ReviewItem } from "../widgets/review-item.js";
import { galleryToBrowse, mayWrite, save, session, settings } from "../session.js";
import { GroupList } from "../widgets/group-list.js";

const PAGE = 25;
const STATES = { open: "Open", places: "Places", done: "Done" };

export async function reviewView(main, _path, query) {
  const view = new ReviewView(galleryToBrowse(query.get("gallery")), query.get("state"));
  main.append(view.element);
  await view.load();
  return () => view.destroy();
}

class ReviewView {
  constructor(gallery, state) {
    const places = session.server?.library && mayWrite(gallery) ? new GroupList(gallery, () => this.showTabs()) : null;
    const states = Object.keys(STATES).filter((one) => one !== "places" || places);
    Object.assign(this, { gallery, places, states, asked: state, state: states.includes(state) ? state : "open" });
    Object.assign(this, { items: [], shown: [], pool: new Map(), current: 0, limit: PAGE });
    this.tabs = h("div", { class: "segmented", role: "group", "aria-label": "Which photos" });
    this.list = h("div", { class: "reviews" });
    this.more = h("div", { class: "row center" });
    this.element = h("div", { class: "view" }, h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Review"), this.tabs),
      galleryChoice(gallery, (name) => (location.hash = `#/review?gallery=${encodeURIComponent(name)}&state=${this.state}`)), this.keys = this.help(),
      this.list, this.more);
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
  }

  destroy() {
    document.removeEventListener("keydown", this.onKey);
    for (const shown of this.pool.values()) shown.destroy();
    this.places?.destroy();
  }

  /** What shows an item: the same as before while the item is the same, so that its photo is fetched once. */
  shownOf(item) {
    const before = this.pool.get(item.id);
    if (before?.item === item) return before;
    before?.destroy();
    const shown = new ReviewItem(item, this.gallery, { onChange: (changed) => this.changed(changed),
      onForget: () => this.forgotten(item), onFocus: (one) => this.mark(one) });
    this.pool.set(item.id, shown);
    return shown;
  }

  help() {
    const keys = [["j", "next"], ["k", "previous"], ["a", "yes"], ["c", "something else"], ["r", "no landmark"]];
    const parts = keys.map(([key, word]) => h("span", { class: "key" }, h("kbd", {}, key), ` ${word}`));
    const box = h("input", { type: "checkbox", checked: settings.keys, onchange: () => save({ keys: box.checked }) });
    return h("div", { class: "keys soft" }, h("label", { class: "check" }, box, "Keys:"), parts);
  }

  async load() {
    if (!mayWrite(this.gallery)) {
      const link = h("a", { href: "#/settings" }, "Settings");
      fill(this.list, h("div", { class: "notice" }, "Reviewing needs the server's token. Give it in the ", link, "."));
      return;
    }
    try {
      const [{ items }] = await Promise.all([listReview(this.gallery, "all"), this.places?.load()]);
      this.items = items;
      if (!this.asked && !this.of("open").length && this.places?.unnamed) this.state = "places";
      this.show();
    } catch (error) {
      fill(this.list, problem(error));
    }
  }

  of(state) {
    return this.items.filter((item) => Boolean(item.verdict) === (state === "done"));
  }

  show() {
    this.showTabs();
    this.keys.hidden = this.state === "places";
    if (this.state === "places") {
      this.shown = [];
      fill(this.list, this.places.element);
      fill(this.more);
      return;
    }
    const items = this.of(this.state);
    this.shown = items.slice(0, this.limit).map((item) => this.shownOf(item));
    fill(this.list, this.shown.length ? this.shown.map((item) => item.element) : this.nothing());
    const rest = items.length - this.shown.length;
    const grow = () => {
      this.limit += PAGE;
      this.show();
    };
    fill(this.more, rest > 0 && button(`Show more (${rest})`, { onclick: grow }));
    this.current = Math.min(this.current, Math.max(this.shown.length - 1, 0));
    this.paint();
  }

  nothing() {
    const text = this.state === "open" ? "Nothing waits for review. Keep a photo from its answer, and it appears here." : "Nothing has been reviewed yet.";
    return h("p", { class: "lead empty" }, text);
  }

  showTabs() {
    const number = (state) => (state === "places" ? this.places.unnamed : this.of(state).length);
    fill(this.tabs, this.states.map((state) => h("button", { type: "button", "aria-pressed": state === this.state,
      data: { testid: `review-${state}` }, onclick: () => this.turn(state) }, `${STATES[state]} `, h("span", { class: "badge" }, number(state)))));
  }

  turn(state) {
    Object.assign(this, { state, current: 0, limit: PAGE });
    this.show();
    this.tabs.querySelector("[aria-pressed=true]")?.focus();
  }

  /** A verdict was given: the next item takes its place. */
  changed(item) {
    this.items = this.items.map((one) => (one.id === item.id ? item : one));
    announce(`${item.photo}: ${item.verdict}. ${count(this.of("open").length, "photo")} open`);
    this.show();
    this.shown[this.current]?.focus();
  }

  forgotten(item) {
    this.items = this.items.filter((one) => one !== item);
    this.pool.get(item.id)?.destroy();
    this.pool.delete(item.id);
    announce(`${item.photo}: forgotten`);
    this.show();
    this.shown[this.current]?.focus();
  }

  mark(item) {
    this.current = this.shown.indexOf(item);
    this.paint();
  }

  paint() {
    this.shown.forEach((item, i) => item.element.classList.toggle("current", i === this.current));
  }

  key(event) {
    if (!settings.keys || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const item = this.shown[this.current];
    const keys = { j: () => this.go(1), k: () => this.go(-1), a: () => item?.accept(), r: () => item?.reject(), c: () => item?.correct() };
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  go(by) {
    this.current = Math.min(Math.max(this.current + by, 0), this.shown.length - 1);
    this.shown[this.current]?.focus();
    this.paint();
  }
}
