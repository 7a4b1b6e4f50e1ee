/** What the page remembers: settings (kept in the browser), the token (for this tab only) and the server's facts. */

const SETTINGS = "veduta.settings";
const TOKEN = "veduta.token";
const DEFAULTS = { gallery: "", lastAdded: "", effort: "default", floor: null, scheme: "auto", tiles: false, keys: true };

/** Sends "change" whenever settings or session change. */
export const changes = new EventTarget();
export const settings = { ...DEFAULTS, ...read(localStore(), SETTINGS) };
export const session = { server: null, token: sessionStore()?.getItem(TOKEN) || "", valid: false };

function localStore() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

function sessionStore() {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}

function read(store, key) {
  try {
    return JSON.parse(store.getItem(key)) || {};
  } catch {
    return {};
  }
}

/** Change some settings and keep them. */
export function save(patch) {
  Object.assign(settings, patch);
  try {
    localStore().setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // a browser that keeps nothing still honors them until the page is closed
  }
  applyScheme();
  changes.dispatchEvent(new Event("change"));
}

/** Note what is known about the server, the token and whether it is right. */
export function note(patch) {
  Object.assign(session, patch);
  if ("token" in patch) {
    try {
      sessionStore().setItem(TOKEN, session.token);
    } catch {
      // then it lasts until the page is closed
    }
  }
  changes.dispatchEvent(new Event("change"));
}

function applyScheme() {
  if (settings.scheme === "auto") delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = settings.scheme;
}

/** The galleries there are. */
export function galleries() {
  return session.server?.galleries ?? [];
}

/** The gallery chosen in the settings, or "" for all of them. */
export function chosenGallery() {
  return galleries().some((one) => one.name === settings.gallery) ? settings.gallery : "";
}

/** The gallery to browse: the one asked for, the chosen one, or the first. */
export function galleryToBrowse(preferred) {
  const known = galleries().find((one) => one.name === preferred);
  return known?.name ?? (chosenGallery() || galleries()[0]?.name || "");
}

/** True if the server takes changes of this gallery (a token may still be missing). */
export function isWritable(name) {
  const gallery = galleries().find((one) => one.name === name);
  return Boolean(session.server?.writable && gallery?.writable !== false);
}

/** True if this page may change the gallery now. */
export function mayWrite(name) {
  return isWritable(name) && session.valid;
}

/** True if this page may change one of the galleries now. */
export function mayWriteAny() {
  return galleries().some((one) => mayWrite(one.name));
}

/** The gallery to add a photo to: the last one used, else the one that answered, or the first that can be changed. */
export function galleryToAdd(answered) {
  const can = galleries().map((one) => one.name).filter(mayWrite);
  return [settings.lastAdded, answered].find((name) => can.includes(name)) ?? can[0] ?? "";
}
