/** A map that needs no network: the countries are shipped with the page, and loaded when the first map is opened. */

import { fill, h, icon } from "../dom.js";
import { changes, session, settings } from "../session.js";

const vendor = (path) => new URL(`../vendor/${path}`, import.meta.url).href;
let loading = null;

/** Load the map library and the countries, once. */
function load() {
  loading ??= Promise.all([
    stylesheet(vendor("leaflet/leaflet.css")),
    import("../vendor/leaflet/leaflet.js"),
    import("../vendor/topojson-client/topojson-client.min.js"),
    fetch(vendor("world-atlas/countries-50m.json")).then((response) => response.json()),
  ]).then(([, , , atlas]) => ({
    L: window.L,
    countries: window.topojson.feature(atlas, atlas.objects.countries),
  }), (error) => {
    loading = null;
    throw error;
  });
  return loading;
}

function stylesheet(href) {
  return new Promise((resolve, reject) => {
    document.head.prepend(h("link", { rel: "stylesheet", href, onload: resolve, onerror: reject }));
  });
}

/**
 * @typedef {{latitude: number, longitude: number, name: string, kind?: "landmark"|"camera", href?: string}} Spot
 */
export class PlaceMap {
  /** @param {Spot[]} spots what to show; @param {string} label what the map shows, for those who listen */
  constructor(spots, label) {
    this.spots = spots;
    this.box = h("div", { class: "map", role: "region", "aria-label": label, data: { testid: "map" } });
    this.caption = h("figcaption", { class: "soft" });
    this.element = h("figure", { class: "map-figure" }, this.box, this.caption);
    this.restyle = () => this.style();
    this.media = matchMedia("(prefers-color-scheme: dark)");
    this.ready = this.open();
  }

  async open() {
    try {
      this.kit = await load();
      if (this.closed) return;
      this.build();
    } catch {
      fill(this.caption, "The map could not be loaded.");
    }
  }

  build() {
    const { L, countries } = this.kit;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.map = L.map(this.box, { zoomAnimation: !calm, fadeAnimation: !calm, markerZoomAnimation: !calm, inertia: !calm,
      preferCanvas: true, minZoom: 1, maxZoom: 17, scrollWheelZoom: false, worldCopyJump: true });
    this.map.attributionControl.setPrefix(false).addAttribution("Countries: Natural Earth");
    L.control.scale({ imperial: false }).addTo(this.map);
    this.land = L.geoJSON(countries, { interactive: false }).addTo(this.map);
    this.addTiles();
    this.style();
    this.addSpots();
    this.box.addEventListener("focusin", () => this.map.scrollWheelZoom.enable());
    this.map.on("blur", () => this.map.scrollWheelZoom.disable());
    this.media.addEventListener("change", this.restyle);
    changes.addEventListener("change", this.restyle);
    fill(this.caption, this.describe());
  }

  /** Tiles come from elsewhere, so only if the server names some and the person wants them. */
  addTiles() {
    const tiles = session.server?.tiles;
    if (!tiles || !settings.tiles) return;
    this.kit.L.tileLayer(tiles.url, { attribution: plainText(tiles.attribution), maxZoom: 19 }).addTo(this.map);
  }

  style() {
    const look = getComputedStyle(this.box);
    const color = (name) => look.getPropertyValue(name).trim();
    const probe = (name) => resolve(this.box, color(name));
    this.land.setStyle({ color: probe("--map-border"), weight: 0.8, fillColor: probe("--map-land"), fillOpacity: settings.tiles && session.server?.tiles ? 0 : 1 });
  }

  addSpots() {
    const { L } = this.kit;
    for (const spot of this.spots) {
      const kind = spot.kind ?? "landmark";
      const shape = h("span", { class: `spot ${kind}` }, icon(kind === "camera" ? "camera" : "pin"));
      const size = kind === "camera" ? 24 : 34;
      const anchor = kind === "camera" ? [12, 12] : [17, 31];
      const marker = L.marker([spot.latitude, spot.longitude], {
        icon: L.divIcon({ html: shape, className: "spot-box", iconSize: [size, size], iconAnchor: anchor }),
        title: spot.name, keyboard: Boolean(spot.href), interactive: true });
      marker.bindTooltip(h("span", {}, spot.name), { direction: "top", offset: [0, -size + 8] });
      const follow = () => (location.hash = spot.href);
      if (spot.href) marker.on("click", follow).on("keypress", ({ originalEvent }) => originalEvent.key === "Enter" && follow());
      marker.addTo(this.map);
    }
    const bounds = L.latLngBounds(this.spots.map((spot) => [spot.latitude, spot.longitude]));
    this.map.fitBounds(bounds.pad(0.3), { maxZoom: settings.tiles && session.server?.tiles ? 14 : 5, animate: false });
  }

  /** "In Italy; the camera says it was 120 m away." */
  describe() {
    const [place, camera] = ["landmark", "camera"].map((kind) => this.spots.find((spot) => (spot.kind ?? "landmark") === kind));
    const parts = [];
    const country = this.spots.length <= 2 && countryAt(this.kit.countries, place ?? camera);
    if (country) parts.push(country);
    if (place && camera) parts.push(`the photo says it was taken ${distanceWords(distance(place, camera))} from there`);
    else if (camera) parts.push("where the photo says it was taken");
    return parts.join("; ");
  }

  destroy() {
    this.closed = true;
    this.media.removeEventListener("change", this.restyle);
    changes.removeEventListener("change", this.restyle);
    this.map?.remove();
    this.element.remove();
  }
}

/** A color as the browser computes it: a canvas does not know light-dark(). */
function resolve(element, color) {
  const probe = h("span", { style: { color: color }, hidden: true });
  element.append(probe);
  const computed = getComputedStyle(probe).color;
  probe.remove();
  return computed;
}

function plainText(html) {
  const text = new DOMParser().parseFromString(html ?? "", "text/html").body.textContent;
  return h("span", {}, text).innerHTML; // escaped again: the library takes HTML
}

/** The name of the country a place lies in, or "". */
function countryAt(countries, { latitude, longitude }) {
  const inRing = (ring) => {
    let inside = false;
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [[ax, ay], [bx, by]] = [ring[i], ring[j]];
      if (ay > latitude !== by > latitude && longitude < ((bx - ax) * (latitude - ay)) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  };
  const inPolygon = ([outer, ...holes]) => inRing(outer) && !holes.some(inRing);
  const holds = ({ type, coordinates }) => (type === "Polygon" ? inPolygon(coordinates) : coordinates.some(inPolygon));
  return countries.features.find((one) => one.geometry && holds(one.geometry))?.properties.name ?? "";
}

/** Metres between two places on a sphere. */
function distance(a, b) {
  const rad = Math.PI / 180;
  const half = (from, to) => Math.sin(((to - from) * rad) / 2) ** 2;
  const part = half(a.latitude, b.latitude) +
    Math.cos(a.latitude * rad) * Math.cos(b.latitude * rad) * half(a.longitude, b.longitude);
  return 2 * 6371000 * Math.asin(Math.sqrt(part));
}

function distanceWords(metres) {
  if (metres < 950) return `${Math.max(10, Math.round(metres / 10) * 10)}\u00a0m`;
  return `${(metres / 1000).toLocaleString("en", { maximumFractionDigits: metres < 9500 ? 1 : 0 })}\u00a0km`;
}
