/** What speaks for an answer and against it: a small bar chart, and the same as a table. */

import { h, percent } from "../dom.js";

const MIN_VALUE = 0.05;
const MAX_ROWS = 10;

/** Plain words for the kinds of evidence; an unknown one keeps its own name. */
const PLAIN = {
  base: "where every answer starts",
  similarity: "looks like its photos",
  "mean similarity": "looks like several of its photos",
  margin: "ahead of the next landmark",
  "above the crowd": "ahead of all the others",
  agreement: "nearest photos agree",
  kinship: "as alike as its own photos are",
  "beyond strangers": "more alike than strangers are",
  "query like nothing": "photo looks like no landmark",
  "reference like nothing": "reference looks like no landmark",
  references: "number of references",
  inliers: "matching points",
  "second inliers": "matching points, second reference",
  "inliers in all": "matching points, all references",
  "inlier margin": "more matching points than the next",
  "inlier share": "few stray matches",
  "inlier similarity": "matching points look alike",
  "query coverage": "points spread over the photo",
  "reference coverage": "points spread over the reference",
  scale: "change of size",
  stretch: "change of shape",
  rotation: "turn",
  perspective: "change of slant",
  "confirmed keypoints": "points confirmed by any reference",
  "useful inliers": "points on what stays",
  "expected inliers": "matching points to be expected",
  "inlier deficit": "matching points against those expected",
  "verified share": "references with matching points",
  "glue inliers": "matching points, looked at thoroughly",
  "glue margin": "ahead, looked at thoroughly",
};

/** The chart and table of an answer's terms, or null. */
export function evidenceChart(terms, confidence) {
  if (!terms?.length) return null;
  const sorted = [...terms].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const shown = sorted.filter((term) => Math.abs(term.value) >= MIN_VALUE).slice(0, MAX_ROWS);
  const rest = sorted.slice(shown.length);
  const total = terms.reduce((sum, term) => sum + term.value, 0);
  return h("section", { class: "terms" },
    h("h3", {}, "What speaks for it, and against"),
    h("p", { class: "soft" }, `Bars to the right speak for the best guess, bars to the left against it. Weighed together: ${
      percent(confidence)}.`),
    chart(shown, rest),
    h("details", {}, h("summary", {}, "The same as a table"), table(sorted, total)));
}

function chart(shown, rest) {
  const widest = Math.max(...shown.map((term) => Math.abs(term.value)), 0.1);
  const rows = shown.map((term) => bar(PLAIN[term.name] ?? term.name, term.value, widest));
  const left = rest.reduce((sum, term) => sum + term.value, 0);
  if (rest.length && Math.abs(left) >= MIN_VALUE / 2) rows.push(bar(`${rest.length} smaller ones`, left, widest));
  return h("div", { class: "bars", "aria-hidden": true }, rows);
}

function bar(name, value, widest) {
  const width = `${(Math.min(Math.abs(value) / widest, 1) * 50).toFixed(1)}%`;
  const side = value < 0 ? { right: "50%", width } : { left: "50%", width };
  return h("div", { class: "bar-row" }, h("span", { class: "bar-name" }, name),
    h("span", { class: "bar-track" }, h("span", { class: value < 0 ? "against" : "for", style: side })),
    h("span", { class: "bar-value" }, signed(value)));
}

function table(terms, total) {
  const rows = terms.map((term) => h("tr", {}, h("th", { scope: "row" }, term.name),
    h("td", {}, PLAIN[term.name] ?? ""), h("td", { class: "number" }, signed(term.value))));
  const sum = h("tr", {}, h("th", { scope: "row" }, "score"), h("td", {}, "the sum"), h("td", { class: "number" }, signed(total)));
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Evidence as a table" }, h("table", {},
    h("caption", { class: "hidden" }, "What each kind of evidence adds to the log odds of the best guess"),
    h("thead", {}, h("tr", {}, ["term", "meaning", "log odds"].map((text, i) => h("th", { scope: "col", class: i === 2 ? "number" : null }, text)))),
    h("tbody", {}, rows), h("tfoot", {}, sum)));
}

function signed(value) {
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
}
