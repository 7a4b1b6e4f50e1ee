/** An answer in words: the name, how sure, what else it could be. Shared by the recognize and the review view. */

import { h, icon, isWeb, percent } from "../dom.js";

/** "Pantheon, almost certainly, 97 %", for those who listen. */
export function spoken(answer) {
  const sure = `${answer.words}, ${percent(answer.confidence)}`;
  if (answer.landmark) return `${answer.landmark.name}, ${sure}`;
  const best = answer.guesses[0];
  return best ? `None I know. The best guess would be ${best.landmark.name}, ${sure}` : "None I know";
}

/** The answer as elements: heading, confidence, meter, place and runners-up. */
export function answerBlock(answer, level = "h2") {
  return answer.landmark ? named(answer, level) : unnamed(answer, level);
}

function named(answer, level) {
  return [
    h(level, { class: "name", data: { testid: "answer-name" }, dir: "auto" }, answer.landmark.name),
    confidence(answer, "How sure the answer is"),
    placeLine(answer.landmark),
    others(answer.guesses.slice(1), "It might also be"),
  ];
}

function unnamed(answer, level) {
  const [best, ...rest] = answer.guesses;
  const heading = h(level, { class: "name none" }, h("span", { class: "emblem" }, icon("unknown")),
    h("span", { data: { testid: "answer-name" } }, "None I know"));
  if (!best)
    return [heading, h("p", { class: "lead" }, "Nothing in the gallery looks like this photo.")];
  const guess = h("p", { class: "lead" }, "The best guess would be ", h("strong", { dir: "auto" }, best.landmark.name), ". ",
    answer.confidence < 0.5 ? "That is too unlikely to say so." : "That is not sure enough for the floor that is set.");
  return [heading, guess, confidence(answer, "How likely the best guess is", "low"), others(rest, "Even less likely")];
}

function confidence(answer, label, kind = "") {
  const text = h("p", { class: "sure", data: { testid: "answer-confidence" } },
    h("span", { class: "words" }, answer.words), h("span", { class: "dot", "aria-hidden": true }, " · "),
    h("span", { class: "number" }, percent(answer.confidence)));
  return h("div", { class: `confidence ${kind}` }, text, meter(answer.confidence, label, answer.words));
}

/** A bar from 0 to 1 that says its value. */
export function meter(value, label, words = "") {
  const bar = h("span", { style: { width: `${Math.max(1.5, value * 100)}%` } });
  return h("div", {
    class: "meter", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(value * 100), "aria-valuetext": `${percent(value)}${words ? `, ${words}` : ""}`,
  }, bar);
}

function others(guesses, title) {
  if (!guesses.length) return null;
  const rows = guesses.map((guess) => h("li", {},
    h("span", { class: "who", dir: "auto" }, guess.landmark.name),
    h("span", { class: "thin", "aria-hidden": true }, h("span", { style: { width: `${guess.confidence * 100}%` } })),
    h("span", { class: "number" }, percent(guess.confidence))));
  return h("div", { class: "others" }, h("h3", {}, title), h("ul", {}, rows));
}

/** Where the landmark is and where to read about it, or null. */
export function placeLine(landmark) {
  const parts = [];
  if (hasPlace(landmark))
    parts.push(h("span", {}, icon("pin"), coordinates(landmark.latitude, landmark.longitude)));
  if (isWeb(landmark.url))
    parts.push(h("a", { href: landmark.url, rel: "noopener noreferrer", target: "_blank" }, icon("link"),
      `Read more at ${siteOf(landmark.url)}`, h("span", { class: "hidden" }, " (opens in a new tab)")));
  return parts.length ? h("p", { class: "place" }, parts) : null;
}

export function hasPlace(landmark) {
  return Number.isFinite(landmark?.latitude) && Number.isFinite(landmark?.longitude);
}

/** "41.8986° N, 12.4769° E" */
export function coordinates(latitude, longitude) {
  const part = (value, plus, minus) => `${Math.abs(value).toFixed(4)}°\u00a0${value < 0 ? minus : plus}`;
  return `${part(latitude, "N", "S")}, ${part(longitude, "E", "W")}`;
}

function siteOf(address) {
  try {
    return new URL(address).hostname.replace(/^www\./, "");
  } catch {
    return "its page";
  }
}

/** A photo, or a calm placeholder where the browser cannot draw it. */
export function photoOf(url, name, props = {}) {
  const image = h("img", { src: url, alt: `Your photo ${name}`, decoding: "async", ...props });
  image.addEventListener("error", () => image.replaceWith(placeholder(name)), { once: true });
  return image;
}

/** Shown in place of a photo that the browser cannot draw, such as HEIC. */
export function placeholder(name) {
  const text = "This browser cannot show this file";
  return h("div", { class: "placeholder", role: "img", "aria-label": `${name}: ${text}` }, icon("photo"),
    h("span", { "aria-hidden": true }, text));
}
