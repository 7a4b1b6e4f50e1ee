"use strict";
(() => {
  const box = document.getElementById("world");
  if (!box) return;
  const world = JSON.parse(document.getElementById("world-data").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const coarse = matchMedia("(pointer: coarse)").matches;
  const MERGED = 20, GAP = 5, LINE = 18; // pixels: dots nearer than this are one; around labels; their height
  box.hidden = false;

  const map = L.map(box, {
    zoomSnap: .5, minZoom: 1, maxZoom: 14, scrollWheelZoom: false, dragging: !coarse, inertia: !calm,
    zoomAnimation: !calm, fadeAnimation: !calm, markerZoomAnimation: !calm,
    maxBounds: [[-85, -540], [85, 720]], maxBoundsViscosity: 1, renderer: L.svg({ padding: .5 }),
  });
  map.attributionControl.setPrefix(false).addAttribution("Countries: Natural Earth");
  L.control.scale({ imperial: false }).addTo(map);
  const spots = [...world.places.map((place) => place.position), ...world.cameras];
  map.fitBounds(L.latLngBounds(spots).pad(.15), { maxZoom: 6, animate: false });
  /* The page scrolls past the map; wheel and finger move the map once it was asked for. */
  map.on("focus click", () => { map.scrollWheelZoom.enable(); map.dragging.enable(); });
  map.on("blur", () => { map.scrollWheelZoom.disable(); if (coarse) map.dragging.disable(); });

  const lines = world.arcs.map((steps) => {
    const line = [];
    for (let i = 0, x = 0, y = 0; i < steps.length; i += 2) {
      x += steps[i];
      y += steps[i + 1];
      line.push([y * world.scale[1] + world.offset[1], x * world.scale[0] + world.offset[0]]);
    }
    return line;
  });
  /* A ring without the jump from 180 degrees east to west; around the pole there is no other side. */
  const ring = (numbers, turn) => {
    const points = numbers.flatMap((number, i) => {
      const line = number < 0 ? lines[~number].slice().reverse() : lines[number];
      return i ? line.slice(1) : line;
    });
    const polar = points.some(([north]) => north < -89);
    let last = points[0][1];
    return points.map(([north, east]) => {
      if (!polar) last = east + 360 * Math.round((last - east) / 360);
      return [north, (polar ? east : last) + turn];
    });
  };
  /* Visited countries last, so that their borders lie above; the world once more on either side. */
  const countries = world.countries.sort((a, b) => a.visited - b.visited);
  for (const { name, visited, polygons } of countries) {
    for (const turn of [-360, 0, 360]) {
      const rings = polygons.map((polygon) => polygon.map((numbers) => ring(numbers, turn)));
      L.polygon(rings, { className: visited ? "land been" : "land", weight: 1, smoothFactor: .6 })
        .bindTooltip(name, { sticky: true, className: "country-name" }).addTo(map);
    }
  }
  for (const camera of world.cameras) L.circleMarker(camera, { radius: 3, className: "stood", interactive: false }).addTo(map);

  const group = L.layerGroup().addTo(map);
  const counted = (place) => `${place.name}: ${place.count} photo${place.count === 1 ? "" : "s"}`;

  /** A dot that leads to its place or, where it stands for several, nearer to them. */
  const drawn = (dot) => {
    const [first] = dot.places, more = dot.places.length - 1;
    const count = dot.places.reduce((sum, place) => sum + place.count, 0);
    const size = 2 * Math.round(Math.min((more ? 9 : 7) + 1.1 * Math.sqrt(count - 1), 18));
    const link = document.createElement("a");
    link.className = `dot ${dot.places.every((place) => place.estimated) ? "guess" : "seen"}`;
    link.href = first.href;
    link.title = dot.places.map(counted).join("\n");
    link.setAttribute("aria-label", more ? `${first.name} and ${more} more` : counted(first));
    if (more) link.append(dot.places.length);
    const name = document.createElement("span");
    name.className = "name";
    name.dir = "auto";
    name.textContent = first.name + (more ? ` +${more}` : "");
    link.append(name);
    const bounds = L.latLngBounds(dot.places.map((place) => place.position));
    link.addEventListener("click", (event) => {
      const nearer = Math.min(map.getBoundsZoom(bounds.pad(.3)), map.getMaxZoom());
      if (!more || nearer <= map.getZoom()) return;
      event.preventDefault();
      box.focus({ preventScroll: true });
      map.setView(bounds.getCenter(), nearer);
    });
    L.marker(first.position, { icon: L.divIcon({ html: link, className: "dot-box", iconSize: [size, size] }), keyboard: false, interactive: false }).addTo(group);
    return { name, at: dot.at, radius: size / 2 };
  };

  /** Show names on a side where they cover no dot and no other name; the title says those that have no room. */
  let dots = [];
  const label = () => {
    const { min, max } = map.getPixelBounds();
    const taken = dots.map(({ at, radius }) => [at.x - radius, at.y - radius, at.x + radius, at.y + radius]);
    const free = (a) => a[0] > min.x && a[2] < max.x && taken.every((b) => a[2] < b[0] || a[0] > b[2] || a[3] < b[1] || a[1] > b[3]);
    for (const { name, at, radius } of dots) {
      name.hidden = false;
      const width = name.offsetWidth, off = radius + GAP;
      const right = [at.x + off, at.y - LINE / 2, at.x + off + width, at.y + LINE / 2];
      const left = [at.x - off - width, right[1], at.x - off, right[3]];
      const side = free(right) ? right : free(left) ? left : null;
      name.classList.toggle("left", side === left);
      name.hidden = !side;
      if (side) taken.push(side);
    }
  };

  const draw = () => {
    const merged = [];
    for (const place of world.places) {
      const at = map.project(place.position);
      const near = merged.find((dot) => dot.at.distanceTo(at) < MERGED);
      if (near) near.places.push(place);
      else merged.push({ at, places: [place] });
    }
    group.clearLayers();
    dots = merged.map(drawn);
    label();
  };
  map.on("zoomend", draw).on("moveend resize", label);
  draw();
})();
