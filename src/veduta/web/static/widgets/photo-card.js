/** The card of one photo: waiting, its answer, or what went wrong. */

import { addAsReference, keepForReview } from "./actions.js";
import { answerBlock, hasPlace, photoOf } from "./answer.js";
import { button, fill, h, problem } from "../dom.js";
import { Evidence } from "./evidence.js";
import { PlaceMap } from "./map.js";
import { galleries, isWritable, mayWrite, mayWriteAny } from "../session.js";

const WAITING = { queued: "In line …", sending: "Looking …", cancelled: "Cancelled." };

export class PhotoCard {
  /** @param {import("../queue.js").Job} job @param {{again: Function, close: Function}} handlers */
  constructor(job, handlers) {
    Object.assign(this, { job, handlers, evidence: null, map: null });
    this.text = h("div", { class: "card-text" });
    this.more = h("div", { class: "card-more" });
    this.notes = h("div", { class: "notes" });
    const close = button("Close this card", { name: "close", kind: "corner", bare: true, onclick: () => handlers.close(this) });
    const title = h("p", { class: "file-name", title: job.file.name, dir: "auto" }, job.file.name);
    this.element = h("article", { class: "card", "aria-label": `Photo ${job.file.name}`, data: { testid: "answer-card" } },
      h("div", { class: "card-top" },
        h("div", { class: "card-photo" }, photoOf(job.url, job.file.name)),
        h("div", { class: "card-side" }, title, this.text)),
      this.notes, this.more, close);
    this.update();
  }

  destroy() {
    this.evidence?.destroy();
    this.map?.destroy();
    this.element.remove();
  }

  update() {
    const { job } = this;
    this.element.dataset.state = job.state;
    this.element.setAttribute("aria-busy", String(["queued", "sending", "waiting"].includes(job.state)));
    if (job.state === "done") fill(this.text, this.answer());
    else if (job.state === "failed") fill(this.text, h("h2", { class: "name quiet" }, "No answer"), problem({ message: job.error }), this.again());
    else if (job.state === "cancelled") fill(this.text, h("p", { class: "lead" }, WAITING.cancelled), this.again());
    else fill(this.text, this.pending());
  }

  pending() {
    const { state, wait } = this.job;
    const text = state === "waiting" ? `The server is busy; waiting ${wait}\u00a0s …` : WAITING[state];
    return h("p", { class: `lead pending ${state}` }, h("span", { class: "pulse", "aria-hidden": true }), text);
  }

  again() {
    return button("Try again", { name: "again", onclick: () => this.handlers.again(this.job) });
  }

  answer() {
    const { answer } = this.job;
    this.element.classList.toggle("unknown", !answer.landmark);
    const facts = [answer.gallery && `from ${answer.gallery}`, secondsWords(answer.seconds)].filter(Boolean).join(" · ");
    return [answerBlock(answer), this.buttons(answer), h("p", { class: "facts soft" }, facts)];
  }

  buttons(answer) {
    const row = [this.whyButton(), this.mapButton(answer)];
    if (mayWriteAny()) row.push(this.addButton());
    if (mayWrite(answer.gallery)) row.push(this.keepButton());
    return h("div", { class: "row" }, row);
  }

  /** Add the photo as a reference; after that the question is asked again, for the answer may be another. */
  addButton() {
    return button("Add as reference …", { name: "plus", kind: "quiet", data: { testid: "add-reference" }, onclick: async () => {
      const gallery = await addAsReference(this.job, this.notes);
      if (!gallery) return;
      this.closeMore();
      this.handlers.again(this.job, gallery);
    } });
  }

  /** Close what was shown of the answer before. */
  closeMore() {
    this.evidence?.destroy();
    this.map?.destroy();
    Object.assign(this, { evidence: null, map: null });
    fill(this.more);
  }

  keepButton() {
    const keep = button("Keep for review", { name: "inbox", kind: "quiet", data: { testid: "keep-review" }, onclick: async () => {
      keep.disabled = true;
      try {
        await keepForReview(this.job, this.notes);
      } catch (error) {
        keep.disabled = false;
        fill(this.notes, problem(error));
      }
    } });
    return keep;
  }

  whyButton() {
    const { answer, file, url } = this.job;
    const why = button("Why?", { name: "why", kind: answer.landmark ? "main" : "", "aria-expanded": Boolean(this.evidence),
      data: { testid: "why-button" }, onclick: () => {
        if (this.evidence) {
          this.evidence.destroy();
          this.evidence.element.remove();
          this.evidence = null;
        } else {
          this.evidence = new Evidence({ answer, photo: file, url });
          this.more.append(this.evidence.element);
        }
        why.setAttribute("aria-expanded", String(Boolean(this.evidence)));
      } });
    return why;
  }

  mapButton(answer) {
    const spots = spotsOf(answer);
    if (!spots.length) return null;
    const show = button("Map", { name: "pin", "aria-expanded": Boolean(this.map), data: { testid: "map-button" }, onclick: () => {
      if (this.map) {
        this.map.destroy();
        this.map = null;
      } else {
        this.map = new PlaceMap(spots, `Map: ${spots.map((spot) => spot.name).join(", ")}`);
        this.more.prepend(this.map.element);
      }
      show.setAttribute("aria-expanded", String(Boolean(this.map)));
    } });
    return show;
  }

  /** Writing has become possible, or no longer is. */
  refresh() {
    if (this.job.state === "done" && galleries().some((one) => isWritable(one.name))) this.update();
  }
}

function spotsOf({ landmark, position }) {
  const spots = [];
  if (hasPlace(landmark)) spots.push({ ...landmark, kind: "landmark" });
  if (position) spots.push({ latitude: position[0], longitude: position[1], name: "the camera", kind: "camera" });
  return spots;
}

function secondsWords(seconds) {
  if (!Number.isFinite(seconds)) return "";
  return seconds < 0.1 ? `${Math.max(1, Math.round(seconds * 1000))}\u00a0ms` : `${seconds.toFixed(seconds < 10 ? 1 : 0)}\u00a0s`;
}
