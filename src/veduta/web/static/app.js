/** The page: its addresses, its views, and what it knows of the server. */

import { checkToken, readServer } from "./api.js";
import { button, fill, h, problem } from "./dom.js";
import { landmarkView } from "./views/landmark.js";
import { newLandmarkView } from "./views/landmark-form.js";
import { landmarksView } from "./views/landmarks.js";
import { recognizeView } from "./views/recognize.js";
import { reviewView } from "./views/review.js";
import { settingsView } from "./views/settings.js";
import { changes, note, session } from "./session.js";

const TITLES = { recognize: "Veduta", landmarks: "Landmarks · Veduta", review: "Review · Veduta", settings: "Settings · Veduta" };
const main = document.getElementById("main");
let leave = () => {};
let visit = 0;

/** The view of an address: [route, function]. */
function routeOf(path) {
  if (path.length === 0) return ["recognize", recognizeView];
  if (path[0] === "landmarks" && path.length === 1) return ["landmarks", landmarksView];
  if (path[0] === "add" && path.length === 1) return ["landmarks", newLandmarkView];
  if (path[0] === "landmarks" && path.length === 2) return ["landmarks", landmarkView];
  if (path[0] === "review") return ["review", reviewView];
  if (path[0] === "settings") return ["settings", settingsView];
  return ["", missing];
}

/** "#/landmarks/a%2Fb?gallery=rome" as parts and query. */
function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return [parts, new URLSearchParams(query)];
}

async function show({ first = false } = {}) {
  const turn = ++visit;
  const [path, query] = parse(location.hash);
  const [route, view] = routeOf(path);
  leave();
  leave = () => {};
  main.replaceChildren();
  document.title = TITLES[route] ?? "Veduta";
  for (const link of document.querySelectorAll("#nav a"))
    if (link.dataset.route === route) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  const opened = view(main, path, query);
  if (!first) {
    window.scrollTo(0, 0);
    (main.querySelector("h1[tabindex]") ?? main).focus({ preventScroll: true });
  }
  const cleanup = (await opened) ?? (() => {});
  if (turn === visit) leave = cleanup;
  else cleanup();
}

function missing(place) {
  place.append(h("div", { class: "view narrow" }, h("h1", { tabindex: -1 }, "There is no such page"),
    h("p", {}, h("a", { href: "#/" }, "Recognize a photo"), " instead?")));
}

/** A token may come in the part of the address that is not sent: keep it for this tab, and take it out of sight. */
function takeToken() {
  const [path, query] = parse(location.hash);
  const token = query.get("token");
  if (!token) return;
  query.delete("token");
  note({ token });
  const rest = query.toString();
  history.replaceState(null, "", `#/${path.map(encodeURIComponent).join("/")}${rest && `?${rest}`}`);
}

/** Learn what the server offers, and whether the token kept for this tab is still right. */
async function start() {
  takeToken();
  try {
    note({ server: await readServer() });
    if (session.server.writable && session.token) note({ valid: await checkToken().then(() => true, () => false) });
  } catch (error) {
    fill(main, h("div", { class: "view narrow" }, h("h1", {}, "Veduta"), problem(error), button("Try again", { name: "again", onclick: start })));
    return;
  }
  await show({ first: true });
}

function frame() {
  const { server } = session;
  document.querySelector("[data-route=review]").hidden = !server?.writable;
  if (server) fill(document.getElementById("foot"), h("p", {}, `Veduta ${server.version}. `,
    "Your photos go to this server only", server.writable ? "; they are kept only when you say so." : " and are not kept."));
}

changes.addEventListener("change", frame);
window.addEventListener("hashchange", () => {
  if (session.server && (location.hash === "" || location.hash.startsWith("#/"))) show();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the page's own, so the jump is made by hand
  main.focus();
});
start();
