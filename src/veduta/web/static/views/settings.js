/** Settings: how to answer, how the page looks, and the token that allows changes. */

import { checkToken } from "../api.js";
import { button, fill, h, percent, problem } from "../dom.js";
import { galleries, note, save, session, settings } from "../session.js";

const EFFORTS = {
  fast: ["Fast", "the least work a photo"],
  default: ["Default", "a good balance"],
  thorough: ["Thorough", "takes longer, finds a little more"],
};
const SCHEMES = { auto: ["As the system", ""], light: ["Light", ""], dark: ["Dark", ""] };

export function settingsView(main) {
  main.append(h("div", { class: "view narrow" }, h("h1", { tabindex: -1 }, "Settings"),
    section("Answers", galleryField(), choices("Effort", "effort", EFFORTS), floorField()),
    section("Changes", writing()),
    section("Appearance", choices("Colors", "scheme", SCHEMES), tilesField())));
}

function section(title, ...children) {
  return h("section", { class: "sheet" }, h("h2", {}, title), children);
}

function galleryField() {
  if (galleries().length < 2) return null;
  const option = (value, text) => h("option", { value, selected: settings.gallery === value }, text);
  const menu = h("select", { id: "gallery", data: { testid: "gallery-select" }, onchange: () => save({ gallery: menu.value }) },
    option("", "All of them; the best answer wins"), galleries().map((one) => option(one.name, one.name)));
  return h("div", { class: "field" }, h("label", { for: "gallery" }, "Gallery"), menu);
}

function choices(title, key, values) {
  const items = Object.entries(values).map(([value, [word, hint]]) => h("label", { class: "choice" },
    h("input", { type: "radio", name: key, value, checked: settings[key] === value, onchange: () => save({ [key]: value }) }),
    h("span", {}, h("span", {}, word), hint ? h("span", { class: "soft" }, ` ${hint}`) : null)));
  return h("fieldset", {}, h("legend", {}, title), items);
}

function floorField() {
  const own = h("input", { type: "checkbox", checked: settings.floor === null, data: { testid: "floor-own" }, onchange: () => change() });
  const slider = h("input", { id: "floor", type: "range", min: 0, max: 0.99, step: 0.01, "aria-describedby": "floor-hint",
    data: { testid: "floor-slider" }, oninput: () => change(), value: settings.floor ?? 0.5 });
  const shown = h("output", { for: "floor" });
  const change = (keep = true) => {
    slider.disabled = own.checked;
    const value = Number(slider.value);
    const text = value === 0 ? "0\u00a0%" : percent(value);
    fill(shown, own.checked ? "the gallery's own" : text);
    slider.setAttribute("aria-valuetext", text);
    if (keep) save({ floor: own.checked ? null : value });
  };
  change(false);
  return h("div", { class: "field" }, h("label", { for: "floor" }, "Floor, the least confidence of an answer: ", shown),
    h("label", { class: "check" }, own, "Use the gallery's own"), slider,
    h("p", { class: "soft hint", id: "floor-hint" },
      "Below the floor the answer is “none I know”. A high floor means fewer wrong names; a low one, fewer photos without a name."));
}

function tilesField() {
  const { tiles } = session.server ?? {};
  if (!tiles) return h("p", { class: "soft" }, "Maps are drawn from countries that come with this page; nothing is loaded from elsewhere.");
  const box = h("input", { type: "checkbox", checked: settings.tiles, data: { testid: "tiles-toggle" }, onchange: () => save({ tiles: box.checked }) });
  const host = tiles.url.replace(/^https?:\/\//, "").split("/")[0];
  return h("div", { class: "field" }, h("label", { class: "check" }, box, "Detailed maps"),
    h("p", { class: "soft hint" }, `They are loaded from ${host}, which then learns which places you look at.`));
}

function writing() {
  if (!session.server?.writable)
    return h("div", { class: "notice", data: { testid: "read-only" } }, "This server is read-only: photos can be recognized, but nothing can be added or changed.");
  const status = h("div", { role: "status", data: { testid: "token-status" } });
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", value: session.token, data: { testid: "token-input" },
    "aria-describedby": "token-hint" });
  const tell = () => fill(status, session.valid ? h("p", { class: "done" }, "The token is right: changes are possible.") : null);
  const check = async (event) => {
    event.preventDefault();
    note({ token: input.value.trim(), valid: false });
    if (!session.token) return tell();
    try {
      await checkToken();
      note({ valid: true });
      tell();
    } catch (error) {
      fill(status, problem(error.code === 401 ? { message: "That is not the server's token." } : error));
    }
    return undefined;
  };
  const leave = button("Forget it", { kind: "quiet", onclick: () => {
    input.value = "";
    note({ token: "", valid: false });
    tell();
  } });
  tell();
  return h("form", { onsubmit: check }, h("div", { class: "field" }, h("label", { for: "token" }, "Token"), input,
    h("p", { class: "soft hint", id: "token-hint" }, "With the server's token you can add landmarks and review photos. It is forgotten when this tab is closed.")),
    h("div", { class: "row" }, h("button", { type: "submit", class: "button main", data: { testid: "token-save" } }, "Use it"), leave), status);
}
