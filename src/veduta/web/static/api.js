/** Talking to the server: one function per route, errors as ApiError, patience when it is busy. */

import { note, session } from "./session.js";

/** Where the services are: beside the folder of this script, whatever path a proxy puts both below. */
const ROOT = new URL("../", import.meta.url).href;

/** An error with the server's own line. */
export class ApiError extends Error {
  constructor(code, status, message, retryAfter = 0) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Ask the server; 429 is retried after the time it names.
 * @param {string} method
 * @param {string} path below the root, ids already encoded
 * @param {{query?: object, json?: object, form?: FormData, auth?: boolean, signal?: AbortSignal, tries?: number,
 *   onWait?: (seconds: number) => void, as?: "json" | "blob"}} options
 */
export async function request(method, path, options = {}) {
  const { tries = 5, onWait, signal } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(method, path, options);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 429 || attempt >= tries) throw error;
      await pause(error.retryAfter, signal, onWait);
    }
  }
}

async function once(method, path, { query, json, form, auth, signal, as = "json" }) {
  const headers = {};
  if (auth && session.token) headers.Authorization = `Bearer ${session.token}`;
  if (json) headers["Content-Type"] = "application/json";
  const body = json ? JSON.stringify(json) : form;
  const response = await reach(ROOT + path + encodeQuery(query), { method, headers, body, signal });
  if (!response.ok) throw await failure(response);
  if (response.status === 204) return null;
  return as === "blob" ? response.blob() : response.json();
}

async function reach(address, init) {
  try {
    return await fetch(address, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "UNREACHABLE", "The server cannot be reached; check that it runs, then try again.");
  }
}

async function failure(response) {
  const error = (await response.json().catch(() => null))?.error;
  const message = error?.message || `The server answered ${response.status} ${response.statusText}`.trim();
  if (response.status === 401 && session.valid) note({ valid: false });
  return new ApiError(response.status, error?.status || "", message, secondsToWait(response.headers.get("Retry-After")));
}

function secondsToWait(header) {
  const seconds = Number(header);
  if (Number.isFinite(seconds) && header) return Math.min(Math.max(seconds, 0.2), 120);
  const until = (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(until) ? Math.min(Math.max(until, 0.2), 120) : 1;
}

async function pause(seconds, signal, onWait) {
  const end = performance.now() + seconds * 1000;
  for (let left = seconds; left > 0; left = (end - performance.now()) / 1000) {
    signal?.throwIfAborted();
    onWait?.(Math.ceil(left));
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 0.25) * 1000));
  }
  signal?.throwIfAborted();
  onWait?.(0);
}

function encodeQuery(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/** A form from values, leaving out what is empty; arrays become several fields. */
export function formOf(values) {
  const form = new FormData();
  for (const [key, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one === undefined || one === null || one === "") continue;
      if (one instanceof File) form.append(key, one, one.name);
      else form.append(key, one);
    }
  }
  return form;
}

const id = encodeURIComponent;

export const readServer = () => request("GET", "v1/server");
export const checkToken = () => request("GET", "v1/session", { auth: true });

/** Recognize one photo; resolves to its answer, throws its error. */
export async function recognize(photo, { gallery, effort, floor }, { signal, onWait }) {
  const form = formOf({ photos: photo, gallery, effort, floor, keypoints: "true" });
  const body = await request("POST", "v1/recognize", { form, signal, onWait, tries: Infinity });
  const answer = body.results[0];
  if (answer.error) throw new ApiError(answer.error.code, answer.error.status, answer.error.message);
  return answer;
}

export const verify = (photo, reference, gallery, signal) =>
  request("POST", "v1/verify", { form: formOf({ photo, reference, gallery }), signal });

export const pictureUrl = (reference, gallery, size = "small") =>
  `${ROOT}v1/pictures/${id(reference)}${encodeQuery({ gallery, size })}`;

export const listLandmarks = (gallery, { search, offset, limit } = {}, signal) =>
  request("GET", "v1/landmarks", { query: { gallery, search, offset, limit }, signal });
export const getLandmark = (gallery, landmark) => request("GET", `v1/landmarks/${id(landmark)}`, { query: { gallery } });
export const putLandmark = (gallery, landmark, json) =>
  request("PUT", `v1/landmarks/${id(landmark)}`, { query: { gallery }, json, auth: true });
export const deleteLandmark = (gallery, landmark) =>
  request("DELETE", `v1/landmarks/${id(landmark)}`, { query: { gallery }, auth: true });

export const listReferences = (gallery, landmark, offset, limit) =>
  request("GET", "v1/references", { query: { gallery, landmark, offset, limit } });
export const postReferences = (values, signal) =>
  request("POST", "v1/references", { form: formOf(values), auth: true, signal, tries: Infinity });
export const deleteReference = (gallery, reference) =>
  request("DELETE", `v1/references/${id(reference)}`, { query: { gallery }, auth: true });

export const listReview = (gallery, state) => request("GET", "v1/review", { query: { gallery, state }, auth: true });
export const postReview = (gallery, photos) =>
  request("POST", "v1/review", { form: formOf({ photos, gallery }), auth: true, tries: Infinity });
export const reviewPhoto = (gallery, n, signal) =>
  request("GET", `v1/review/${n}/photo`, { query: { gallery }, auth: true, as: "blob", signal });
export const judge = (gallery, n, json) => request("POST", `v1/review/${n}`, { query: { gallery }, json, auth: true });
export const forget = (gallery, n) => request("DELETE", `v1/review/${n}`, { query: { gallery }, auth: true });

export const listGroups = (state, offset, limit) => request("GET", "v1/groups", { query: { state, offset, limit }, auth: true });
export const groupPicture = (sha256, signal) => request("GET", `v1/groups/pictures/${sha256}`, { auth: true, as: "blob", signal });
export const postNames = (json) => request("POST", "v1/groups", { json, auth: true, tries: Infinity });
export const deleteGroupName = (gallery, group) =>
  request("DELETE", `v1/groups/${group}/name`, { query: { gallery }, auth: true });

const names = new Map();

/** The name of a landmark, asked for once; its id when it cannot be had. */
export function landmarkName(gallery, landmark) {
  const key = JSON.stringify([gallery, landmark]);
  if (!names.has(key)) names.set(key, getLandmark(gallery, landmark).then((one) => one.name, () => landmark));
  return names.get(key);
}

/** Forget names after a change. */
export const forgetNames = () => names.clear();
