/** One photo kept for review, with its answer and the verdict on it. */

import { forget, judge, landmarkName, reviewPhoto } from "../api.js";
import { answerBlock, photoOf } from "./answer.js";
import { button, fill, h, problem } from "../dom.js";
import { ask, confirmLoss } from "./dialog.js";
import { Evidence } from "./evidence.js";
import { LandmarkPicker } from "./landmark-picker.js";

const VERDICTS = { accepted: "Accepted", rejected: "No landmark", corrected: "Corrected" };

export class ReviewItem {
  /** @param {object} item @param {string} gallery @param {{onChange: Function, onForget: Function, onFocus: Function}} handlers */
  constructor(item, gallery, handlers) {
    Object.assign(this, { item, gallery, handlers, url: "", evidence: null, busy: false });
    this.controller = new AbortController();
    this.picture = h("div", { class: "card-photo" }, h("div", { class: "placeholder" }));
    this.failed = h("div", { class: "notes" });
    this.more = h("div", { class: "card-more" });
    this.element = h("article", { class: "card review", tabindex: -1, "aria-label": `Photo ${item.photo}`, data: { testid: "review-item" },
      onfocusin: () => handlers.onFocus(this) },
      h("div", { class: "card-top" }, this.picture, h("div", { class: "card-side" },
        h("p", { class: "file-name", dir: "auto" }, item.photo), h("div", { class: "card-text" }, this.answer(), this.verdict(), this.controls()))),
      this.failed, this.more);
    this.watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.load(), { rootMargin: "600px" });
    this.watcher.observe(this.element);
  }

  destroy() {
    this.controller.abort();
    this.watcher.disconnect();
    this.evidence?.destroy();
    if (this.url) URL.revokeObjectURL(this.url);
  }

  focus() {
    this.element.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** The photo needs the token, so it is fetched and shown from memory. */
  async load() {
    this.watcher.disconnect();
    try {
      this.photo = await reviewPhoto(this.gallery, this.item.id, this.controller.signal);
      this.url = URL.createObjectURL(this.photo);
      fill(this.picture, photoOf(this.url, this.item.photo));
    } catch (error) {
      if (error.name !== "AbortError") fill(this.failed, problem(error));
    }
  }

  answer() {
    const { answer } = this.item;
    return answer?.error ? problem(answer.error) : answerBlock(answer);
  }

  verdict() {
    const { verdict, landmark } = this.item;
    if (!verdict) return null;
    const name = h("strong", { dir: "auto" });
    const line = h("p", { class: `verdict-line ${verdict}`, data: { testid: "review-verdict" } }, VERDICTS[verdict] ?? verdict);
    if (verdict !== "rejected" && landmark) {
      landmarkName(this.gallery, landmark).then((text) => (name.textContent = text));
      line.append(": ", name);
    }
    return line;
  }

  controls() {
    const { answer } = this.item;
    this.also = h("input", { type: "checkbox", data: { testid: "review-reference" } });
    const best = this.best();
    const tools = [
      best && button(`Yes, it is ${best.name || best.id}`, { name: "check", kind: "main", data: { testid: "review-accept" }, onclick: () => this.accept() }),
      button("Something else …", { name: "edit", data: { testid: "review-correct" }, onclick: () => this.correct() }),
      button("No landmark", { name: "close", kind: best ? "" : "main", title: "It shows none of the gallery's landmarks",
        data: { testid: "review-reject" }, onclick: () => this.reject() }),
      !answer.error && button("Why?", { name: "why", kind: "quiet", "aria-expanded": false, onclick: (event) => this.why(event.currentTarget) }),
      button("Forget", { name: "bin", kind: "quiet", onclick: () => this.forget() }),
    ];
    return [h("div", { class: "row" }, tools), best && h("label", { class: "check" }, this.also, "Also use as a reference photo")];
  }

  /** The landmark that accepting says it is: the answer or, where there is none, the best guess. */
  best() {
    const { answer } = this.item;
    return answer.landmark ?? answer.guesses?.[0]?.landmark ?? null;
  }

  accept() {
    return this.best() && this.send({ verdict: "accept", reference: this.also.checked });
  }

  reject() {
    return this.send({ verdict: "reject" });
  }

  async send(json) {
    if (this.busy) return;
    this.busy = true;
    try {
      this.handlers.onChange(await judge(this.gallery, this.item.id, json));
    } catch (error) {
      fill(this.failed, problem(error));
    } finally {
      this.busy = false;
    }
  }

  async correct() {
    let touched = false;
    const also = h("input", { type: "checkbox", checked: this.also.checked, data: { testid: "correct-reference" }, onchange: () => (touched = true) });
    const suggest = (chosen) => {
      if (!touched) also.checked = this.also.checked || Boolean(chosen?.isNew); // a new landmark without a photo is never recognized
    };
    const picker = new LandmarkPicker({ gallery: this.gallery, allowNew: true, label: "It really shows", onChange: suggest });
    const changed = await ask({ title: "Correct the answer", yes: "Save",
      body: [picker.element, h("label", { class: "check" }, also, "Also use as a reference photo")], act: async () => {
        const { id, name, isNew } = await picker.value();
        return judge(this.gallery, this.item.id, { verdict: "correct", landmark: id, ...(isNew && { name }), reference: also.checked });
      } });
    if (changed) this.handlers.onChange(changed);
  }

  async forget() {
    const done = await confirmLoss({ title: "Forget this photo?", yes: "Forget it", act: () => forget(this.gallery, this.item.id),
      text: "The photo and its verdict are deleted. A reference made from it stays." });
    if (done) this.handlers.onForget();
  }

  why(control) {
    if (this.evidence) {
      this.evidence.destroy();
      this.evidence.element.remove();
      this.evidence = null;
    } else if (this.photo) {
      const photo = new File([this.photo], this.item.photo, { type: "image/jpeg" });
      this.evidence = new Evidence({ answer: this.item.answer, photo, url: this.url });
      this.more.append(this.evidence.element);
    }
    control.setAttribute("aria-expanded", String(Boolean(this.evidence)));
  }
}
