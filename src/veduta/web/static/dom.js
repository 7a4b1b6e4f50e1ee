/** Small helpers to build the page. Text from the server only ever becomes text nodes or attributes. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element: h("button", {class: "quiet", onclick: go, "aria-pressed": true}, "Go").
 * Functions become listeners, `data` becomes the data attributes, `style` is an object; null and false leave an
 * attribute out, true sets it empty (aria attributes: "true").
 */
export function h(tag, props = {}, ...children) {
  return furnish(document.createElement(tag), props, children);
}

/** The same for an SVG element. */
export function s(tag, props = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), props, children);
}

function furnish(element, props, children) {
  for (const [key, value] of Object.entries(props)) setProperty(element, key, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function setProperty(element, key, value) {
  if (typeof value === "function") element.addEventListener(key.slice(2), value);
  else if (key === "data") Object.assign(element.dataset, value);
  else if (key === "style") Object.assign(element.style, value);
  else if (key === "value") element.value = value;
  else if (key.startsWith("aria-") && value !== null && value !== undefined) element.setAttribute(key, String(value));
  else if (value !== null && value !== undefined && value !== false)
    element.setAttribute(key, value === true ? "" : String(value));
}

const ICONS = {
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9.500h.01",
  camera: "M4 8h4l1.500-2.500h5L16 8h4v11H4zM12 16.500a3.200 3.200 0 1 0 0-6.400 3.200 3.200 0 0 0 0 6.400",
  pin: "M12 21c4-5 6.500-8.300 6.500-11.500a6.500 6.500 0 1 0-13 0C5.500 12.700 8 16 12 21zM12 11.800a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600",
  link: "M14 5h5v5M19 5l-8 8M17 14v5H5V7h5",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  back: "M14.500 5l-7 7 7 7",
  next: "M9.500 5l7 7-7 7",
  why: "M4 6h6v12H4zM14 6h6v12h-6zM7 10l10 3M7 14.500l10-5",
  edit: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  bin: "M5 7h14M10 7V4.500h4V7M7 7l1 12.500h8L17 7M10.500 10.500v6M13.500 10.500v6",
  check: "M5 12.500l4.500 4.500L19 7.500",
  inbox: "M4 13l3-8h10l3 8v6H4zM4 13h5a3 3 0 0 0 6 0h5",
  again: "M19 12a7 7 0 1 1-2.200-5.100M19 4v4h-4",
  unknown: "M4 18h16M6 18v-7l6-5 6 5v7M10.300 11.700a1.800 1.800 0 1 1 2.500 1.700c-.5.2-.8.5-.8 1.100M12 16.400h.01",
};

/** A drawn icon; decoration only, so the control needs its own name. */
export function icon(name) {
  const path = s("path", { d: ICONS[name] });
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": true, focusable: "false" }, path);
}

/** A button with an icon and a text; `label` alone (no visible text) when `bare`. */
export function button(label, { name, kind = "", bare = false, ...props } = {}) {
  const named = bare ? { "aria-label": label, title: label } : {};
  const shape = `button ${kind} ${bare ? "bare" : ""}`.trim();
  return h("button", { type: "button", class: shape, ...named, ...props }, name && icon(name), !bare && h("span", {}, label));
}

/** Replace what is inside an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Say something to people who do not see the page. */
export function announce(text) {
  document.getElementById("live").append(h("p", {}, text));
  const lines = document.querySelectorAll("#live p");
  if (lines.length > 6) lines[0].remove();
}

/** "97 %"; never a round 0 or 100. */
export function percent(share) {
  if (share > 0.99) return "over 99\u00a0%";
  return share < 0.01 ? "under 1\u00a0%" : `${Math.round(share * 100)}\u00a0%`;
}

/** "1 photo", "1,855 photos". */
export function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en")}\u00a0${n === 1 ? noun : plural}`;
}

/** A line about what went wrong; a server's message as it is. */
export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, error.message || String(error));
}

/** True if an address is a plain web address, safe to link to. */
export function isWeb(address) {
  return /^https?:\/\//i.test(address || "");
}

/** A function that waits until it is left alone for a moment. */
export function later(run, milliseconds = 200) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), milliseconds);
  };
}

/** True while someone types, so that single keys are theirs. */
export function isTyping(target) {
  return target instanceof Element && Boolean(target.closest("input:not([type=checkbox]), textarea, select, dialog"));
}
