/** Why an answer was given: the references it rests on, their matching points, and what speaks for and against. */

import { landmarkName, pictureUrl, verify } from "../api.js";
import { button, count, fill, h, problem } from "../dom.js";
import { PairViewer } from "./pair-viewer.js";
import { evidenceChart } from "./evidence-chart.js";

export class Evidence {
  /** @param {{answer: object, photo: Blob, url: string}} subject the answer, its photo and a blob URL of it */
  constructor({ answer, photo, url }) {
    Object.assign(this, { answer, photo, url, pairs: new Map(), chosen: -1 });
    this.controller = new AbortController();
    this.status = h("div", { class: "verdict", role: "status" });
    this.point = h("span", { class: "soft point", "aria-live": "polite" });
    this.viewer = new PairViewer((index, total) => this.tellPoint(index, total));
    this.caption = h("p", { class: "caption" });
    this.choices = answer.candidates.map((candidate, i) => this.choice(candidate, i));
    this.element = h("section", { class: "evidence", "aria-label": "Evidence" }, this.build());
    this.pick(0);
  }

  destroy() {
    this.controller.abort();
    this.viewer.destroy();
  }

  build() {
    const terms = evidenceChart(this.answer.terms, this.answer.confidence);
    if (!this.choices.length) return [h("p", { class: "lead" }, "No reference looks like this photo at all."), terms];
    return [
      h("h3", {}, "The same points, found in both"),
      this.status, h("div", { class: "frame" }, this.viewer.element), this.caption, this.tools(),
      h("h3", {}, "References compared with your photo"),
      h("ul", { class: "candidates" }, this.choices),
      terms,
    ];
  }

  choice(candidate, i) {
    const image = h("img", { src: pictureUrl(candidate.reference, this.answer.gallery), alt: "", loading: "lazy" });
    const name = h("span", { class: "who", dir: "auto" }, this.nameOf(candidate));
    if (!this.nameOf(candidate))
      landmarkName(this.answer.gallery, candidate.landmark).then((text) => (name.textContent = text));
    const facts = h("span", { class: "soft" }, `similarity ${candidate.similarity.toFixed(2)}`);
    const check = h("span", { class: candidate.num_inliers ? "matched" : "soft" }, checkWords(candidate.num_inliers));
    return h("li", {}, h("button", { type: "button", class: "candidate", "aria-pressed": false, data: { testid: "candidate" },
      onclick: () => this.pick(i) }, image, name, facts, check));
  }

  nameOf(candidate) {
    return this.answer.guesses.find((guess) => guess.landmark.id === candidate.landmark)?.landmark.name ?? "";
  }

  tools() {
    const { viewer } = this;
    const tool = (label, name, run) => button(label, { name, bare: true, onclick: run });
    return h("div", { class: "tools", role: "group", "aria-label": "View of the pair" },
      tool("Zoom out", "minus", () => viewer.zoom(1 / 1.5)), tool("Zoom in", "plus", () => viewer.zoom(1.5)),
      tool("Show all", "fit", () => viewer.reset()), tool("Previous point", "back", () => viewer.step(-1)),
      tool("Next point", "next", () => viewer.step(1)), this.point, this.maskToggle());
  }

  maskToggle() {
    if (!this.answer.keypoints?.length) return null;
    const legend = h("span", { class: "legend", hidden: true }, h("i", { class: "stays" }), "more likely to stay ",
      h("i", { class: "goes" }), "less: people, sky, plants");
    const box = h("input", { type: "checkbox", data: { testid: "mask-toggle" }, onchange: () => {
      legend.hidden = !box.checked;
      this.viewer.showKeypoints(box.checked ? this.answer.keypoints : null);
    } });
    return h("span", { class: "mask" }, h("label", { class: "check" }, box, "Show what counts in the photo"), legend);
  }

  /** Choose a reference and show its matching points. */
  async pick(index) {
    const candidate = this.answer.candidates[index];
    if (!candidate || index === this.chosen) return;
    this.chosen = index;
    this.choices.forEach((item, i) => item.firstChild.setAttribute("aria-pressed", String(i === index)));
    fill(this.status, "Looking for matching points …");
    this.viewer.element.classList.add("busy");
    try {
      const pair = pairOf(candidate, this.answer.size) ?? await this.ask(candidate);
      if (index === this.chosen) this.show(candidate, pair);
    } catch (error) {
      if (error.name !== "AbortError" && index === this.chosen) fill(this.status, problem(error));
    } finally {
      if (index === this.chosen) this.viewer.element.classList.remove("busy");
    }
  }

  /** Ask the server for the points of a candidate whose answer has none, once. */
  ask({ reference }) {
    if (!this.pairs.has(reference)) {
      const pair = verify(this.photo, reference, this.answer.gallery, this.controller.signal);
      pair.catch(() => this.pairs.delete(reference));
      this.pairs.set(reference, pair);
    }
    return this.pairs.get(reference);
  }

  async show(candidate, pair) {
    this.viewer.show({
      photo: this.url, photoSize: pair.query_size, reference: pictureUrl(candidate.reference, this.answer.gallery, "large"),
      referenceSize: pair.reference_size, lines: pair.inliers,
    });
    const n = pair.inliers.length;
    const text = n ? `${count(n, "point")} of your photo ${n === 1 ? "is" : "are"} in the reference too, all seen from one changed viewpoint.`
      : `Looked for, nothing found${pair.problem ? `: ${pair.problem}` : ""}.`;
    fill(this.status, text);
    const name = this.nameOf(candidate) || await landmarkName(this.answer.gallery, candidate.landmark);
    fill(this.caption, "Your photo, and ", h("strong", { dir: "auto" }, name), h("span", { class: "soft file" }, ` · ${candidate.reference}`));
  }

  tellPoint(index, total) {
    const text = index < 0 ? "" : `point ${index + 1} of ${total}`;
    fill(this.point, text);
  }
}

/** The points that came with the answer, or null for a candidate that was not verified then. */
function pairOf({ inliers, problem, reference_size }, query_size) {
  return inliers && reference_size ? { inliers, problem, reference_size, query_size } : null;
}

/** "Not verified" and "verified, nothing found" are two things. */
function checkWords(inliers) {
  if (inliers === null || inliers === undefined) return "not checked for points";
  return inliers === 0 ? "checked, no matching points" : count(inliers, "matching point");
}

