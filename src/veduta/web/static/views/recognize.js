/** The first view: drop, paste, choose or take photos; an answer for each. It lives as long as the page. */

import { spoken } from "../widgets/answer.js";
import { PhotoCard } from "../widgets/photo-card.js";
import { announce, button, count, fill, h, icon } from "../dom.js";
import { Queue } from "../queue.js";
import { changes, chosenGallery, galleries, isWritable, session, settings } from "../session.js";
import { acceptDrops } from "../widgets/uploads.js";

const BUSY = new Set(["queued", "sending", "waiting"]);
let view = null;

/** Show the view, with the cards it had. */
export function recognizeView(main) {
  view ??= new RecognizeView();
  main.append(view.element);
  return view.enter();
}

class RecognizeView {
  constructor() {
    this.cards = new Map();
    this.queue = new Queue((job) => this.changed(job));
    this.known = h("p", { class: "soft known" });
    this.tally = h("p", {});
    this.progress = h("progress", { "aria-label": "Photos answered" });
    this.cancel = button("Cancel", { kind: "quiet", data: { testid: "cancel-all" }, onclick: () => this.queue.cancel() });
    this.clear = button("Clear all", { kind: "quiet", data: { testid: "clear-all" },
      onclick: () => [...this.cards.values()].forEach((card) => this.close(card)) });
    this.summary = h("div", { class: "summary", hidden: true }, this.tally, this.progress, this.cancel, this.clear);
    this.list = h("div", { class: "cards" });
    this.element = h("div", { class: "view recognize" }, this.dropZone(), this.summary, this.list);
    acceptDrops(this.element, (files) => this.take(files));
    changes.addEventListener("change", () => this.refresh());
  }

  enter() {
    const paste = (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) event.preventDefault();
      this.take(files);
    };
    const guard = (event) => event.preventDefault(); // a photo dropped beside the zone must not replace the page
    const drop = (event) => {
      event.preventDefault();
      this.take(event.dataTransfer.files);
    };
    document.addEventListener("paste", paste);
    document.addEventListener("dragover", guard);
    document.addEventListener("drop", drop);
    this.refresh();
    return () => {
      document.removeEventListener("paste", paste);
      document.removeEventListener("dragover", guard);
      document.removeEventListener("drop", drop);
    };
  }

  dropZone() {
    const field = (props) => {
      const input = h("input", { type: "file", class: "hidden-input", ...props, onchange: () => {
        this.take(input.files);
        input.value = "";
      } });
      return input;
    };
    const choose = field({ accept: "image/*,.heic,.heif", multiple: true, data: { testid: "file-input" } });
    const shoot = field({ accept: "image/*", capture: "environment", data: { testid: "camera-input" } });
    return h("section", { class: "zone", "aria-label": "Add photos", data: { testid: "drop-zone" } },
      h("div", { class: "zone-inner" },
        h("h1", {}, "What was the name of that place?"),
        h("p", { class: "lead" }, "Give me a photo. I name the landmark, say how sure I am and show why, or say that I know none."),
        h("div", { class: "row center" },
          h("label", { class: "button main large" }, icon("photo"), "Choose photos", choose),
          h("label", { class: "button large camera-only" }, icon("camera"), "Take a photo", shoot)),
        h("p", { class: "soft fine-only" }, "or drop them anywhere here, or paste one"),
        this.known),
      h("div", { class: "skyline", "aria-hidden": true }));
  }

  /** Take files in, the newest batch first. */
  take(files) {
    const jobs = [...files].map((file) => ({ file, url: URL.createObjectURL(file), state: "queued", wait: 0 }));
    if (!jobs.length) return;
    const cards = jobs.map((job) => new PhotoCard(job, { again: (one, gallery) => this.ask(one, gallery), close: (card) => this.close(card) }));
    cards.forEach((card) => this.cards.set(card.job, card));
    this.list.prepend(...cards.map((card) => card.element));
    this.element.classList.add("has-cards");
    announce(`${jobs.length === 1 ? "One photo" : `${jobs.length} photos`} added`);
    jobs.forEach((job) => this.ask(job));
  }

  /** Ask about a photo the galleries of the settings; where those name one, `gallery` is asked in its place. */
  ask(job, gallery = chosenGallery()) {
    const { effort, floor } = settings;
    this.queue.add(job, { gallery: chosenGallery() && gallery, effort, floor }, session.server?.limits.photo_bytes);
  }

  changed(job) {
    this.cards.get(job)?.update();
    if (job.state === "done") announce(spoken(job.answer));
    if (job.state === "failed") announce(`${job.file.name}: ${job.error}`);
    this.summarize();
  }

  close(card) {
    this.queue.drop(card.job);
    this.cards.delete(card.job);
    URL.revokeObjectURL(card.job.url);
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.destroy();
    (next?.querySelector("button") ?? this.element.querySelector("input")).focus({ preventScroll: true });
    if (!this.cards.size) this.element.classList.remove("has-cards");
    this.summarize();
  }

  summarize() {
    const jobs = [...this.cards.keys()];
    const busy = jobs.filter((job) => BUSY.has(job.state)).length;
    this.summary.hidden = jobs.length < 2 && !busy;
    const tally = (test) => jobs.filter(test).length;
    const named = tally((job) => job.state === "done" && job.answer.landmark);
    const none = tally((job) => job.state === "done" && !job.answer.landmark);
    const failed = tally((job) => job.state === "failed");
    const facts = [count(jobs.length, "photo"), named && `${named} named`, none && `${none} not known`, failed && `${failed} failed`];
    fill(this.tally, facts.filter(Boolean).join(" · "));
    Object.assign(this.progress, { hidden: !busy, max: Math.max(jobs.length, 1), value: jobs.length - busy });
    this.cancel.hidden = !busy;
    this.clear.hidden = Boolean(busy);
  }

  refresh() {
    const chosen = galleries().filter((one) => !chosenGallery() || one.name === chosenGallery());
    const sum = (key) => chosen.reduce((total, one) => total + one[key], 0);
    const empty = session.server && !sum("references");
    if (empty) fill(this.known, "There are no references yet. ", chosen.some((one) => isWritable(one.name))
      ? h("a", { href: "#/add" }, "Add the first landmark") : "Add some with the command veduta add.");
    else if (session.server) fill(this.known, `Known here: ${count(sum("landmarks"), "landmark")}, from ${count(sum("references"), "photo")}`);
    for (const card of this.cards.values()) card.refresh();
  }
}
