/** Two pictures side by side and the lines between their matching points, under one zoom. */

import { h, s } from "../dom.js";
import { PanZoom } from "./pan-zoom.js";

const GAP = 10;
const MAX_ZOOM = 14;
const MAX_DISTANCE = 30; // pixels within which a point is meant

/**
 * @typedef {object} Pair
 * @property {string} photo url, or "" where the browser cannot draw it
 * @property {string} reference url
 * @property {[number, number]} photoSize upright original pixels
 * @property {[number, number]} referenceSize
 * @property {number[][]} lines [x, y, rx, ry]
 */
export class PairViewer {
  /** @param {(index: number, total: number) => void} onPoint called with the highlighted point, -1 for none */
  constructor(onPoint) {
    this.onPoint = onPoint;
    this.view = { k: 1, x: 0, y: 0 };
    this.pair = null;
    this.points = [];
    this.hot = -1;
    this.pictures = h("div", { class: "pictures" });
    this.dots = s("g", { class: "dots" });
    this.lines = s("g", { class: "lines", data: { testid: "evidence-lines" } });
    this.svg = s("svg", { class: "overlay", "aria-hidden": true }, this.dots, this.lines);
    this.element = h("div", { class: "pair-viewer", tabindex: 0, role: "group", data: { testid: "pair-viewer" } }, this.pictures, this.svg);
    this.panZoom = new PanZoom(this.element, this);
    this.observer = new ResizeObserver(() => this.arrange());
    this.observer.observe(this.element);
  }

  destroy() {
    this.observer.disconnect();
    this.panZoom.destroy();
  }

  /** @param {Pair} pair */
  show(pair) {
    this.pair = pair;
    this.highlight(-1);
    this.view = { k: 1, x: 0, y: 0 };
    this.pictures.replaceChildren(picture(pair.photo, "your photo"), picture(pair.reference, "the reference"));
    const n = pair.lines.length;
    const order = [...pair.lines.keys()].sort((a, b) => pair.lines[a][1] - pair.lines[b][1]);
    this.marks = pair.lines.map((_, i) => mark(order.indexOf(i) / Math.max(n - 1, 1)));
    this.lines.replaceChildren(...this.marks.map((one) => one.group));
    this.lines.style.setProperty("--faint", n > 120 ? 0.35 : n > 50 ? 0.55 : 0.8);
    this.element.setAttribute("aria-label", `Your photo beside the reference, joined by ${n} matching points. ` +
      "Plus and minus zoom, arrows move, n and p go through the points, 0 shows all.");
    this.arrange();
  }

  /** Draw the photo's keypoints [x, y, stays], large and green by the rank of `stays`; null takes them away. */
  showKeypoints(keypoints) {
    this.keypoints = [...(keypoints ?? [])].sort((a, b) => a[2] - b[2]);
    const most = Math.max(this.keypoints.length - 1, 1);
    const circles = this.keypoints.map((_, rank) => {
      const share = rank / most;
      const fill = `hsl(${Math.round(18 + 130 * share)} 85% ${Math.round(62 - 4 * share)}%)`;
      return s("circle", { r: (1.4 + 3 * share).toFixed(1), style: { fill, opacity: 0.5 + 0.45 * share } });
    });
    this.dots.replaceChildren(...circles);
    this.draw();
  }

  /** Work out where both pictures lie at zoom 1, and how high the viewer is. */
  arrange() {
    const width = this.element.clientWidth;
    if (!this.pair || !width) return;
    const highest = Math.max(240, window.innerHeight * 0.68);
    const beside = width >= 560;
    this.boxes = (beside ? sideBySide : stacked)(width, highest, this.pair.photoSize, this.pair.referenceSize);
    this.size = { width, height: Math.max(...this.boxes.map((box) => box.y + box.height)) };
    this.element.style.height = `${this.size.height}px`;
    [...this.pictures.children].forEach((image, i) => {
      const { x, y, width: wide, height } = this.boxes[i];
      Object.assign(image.style, { left: `${x}px`, top: `${y}px`, width: `${wide}px`, height: `${height}px` });
    });
    this.move(this.view);
  }

  /** Set the view, kept within the pictures. */
  move({ k, x, y }) {
    if (!this.size) return;
    const { width, height } = this.size;
    const zoom = Math.min(Math.max(k, 1), MAX_ZOOM);
    const within = (value, extent) => Math.min(0, Math.max(value, extent - extent * zoom));
    this.view = { k: zoom, x: within(x, width), y: within(y, height) };
    this.element.classList.toggle("zoomed", zoom > 1.01);
    this.draw();
  }

  pan(dx, dy) {
    this.move({ k: this.view.k, x: this.view.x + dx, y: this.view.y + dy });
  }

  /** Zoom by a factor around a point of the viewer; its middle by default. */
  zoom(factor, cx = this.size?.width / 2, cy = this.size?.height / 2) {
    if (!this.size) return;
    const k = Math.min(Math.max(this.view.k * factor, 1), MAX_ZOOM);
    const ratio = k / this.view.k;
    this.move({ k, x: cx - (cx - this.view.x) * ratio, y: cy - (cy - this.view.y) * ratio });
  }

  reset() {
    this.highlight(-1);
    this.move({ k: 1, x: 0, y: 0 });
  }

  /** Highlight the next or previous point, and bring it into view. */
  step(by) {
    const n = this.pair?.lines.length;
    if (!n) return;
    this.highlight(this.hot < 0 ? (by > 0 ? 0 : n - 1) : (this.hot + by + n) % n);
    const [x, y] = this.points[this.hot];
    const { width, height } = this.size;
    if (x < 0 || y < 0 || x > width || y > height) this.pan(width / 2 - x, height / 2 - y);
  }

  /** Highlight the point nearest to a place of the viewer, if one is near. */
  point(x, y) {
    let best = -1;
    let least = MAX_DISTANCE;
    this.points.forEach(([ax, ay, bx, by], i) => {
      const distance = Math.min(Math.hypot(ax - x, ay - y), Math.hypot(bx - x, by - y));
      if (distance < least) [best, least] = [i, distance];
    });
    this.highlight(best);
  }

  highlight(index) {
    if (index === this.hot) return;
    this.marks?.[this.hot]?.group.classList.remove("hot");
    this.hot = index;
    const group = this.marks?.[index]?.group;
    group?.classList.add("hot");
    if (group) this.lines.append(group); // above the others
    this.svg.classList.toggle("dim", index >= 0);
    this.onPoint(index, this.pair?.lines.length ?? 0);
  }

  draw() {
    if (!this.pair || !this.boxes) return;
    const { k, x, y } = this.view;
    this.pictures.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
    const [a, b] = this.boxes;
    const toA = onto(a, this.pair.photoSize, this.view);
    const toB = onto(b, this.pair.referenceSize, this.view);
    this.points = this.pair.lines.map(([px, py, rx, ry]) => [...toA(px, py), ...toB(rx, ry)]);
    this.points.forEach((ends, i) => place(this.marks[i], ends));
    (this.keypoints ?? []).forEach(([px, py], i) => {
      const [cx, cy] = toA(px, py);
      set(this.dots.children[i], { cx, cy });
    });
  }
}

function picture(url, name) {
  const blank = () => h("div", { class: "blank", role: "img", "aria-label": `${name}; it cannot be drawn here` });
  if (!url) return blank();
  const image = h("img", { src: url, alt: name, draggable: "false" });
  image.addEventListener("error", () => {
    const empty = blank();
    empty.style.cssText = image.style.cssText;
    image.replaceWith(empty);
  });
  return image;
}

/** A line with its two ends; the hue follows the height in the photo, so that neighbors can be told apart. */
function mark(share) {
  const color = `hsl(${Math.round(48 + 130 * share)} 95% ${Math.round(66 - 8 * share)}%)`;
  const under = s("line", { class: "under" });
  const line = s("line", { class: "line", style: { stroke: color } });
  const ends = [0, 1].map(() => s("circle", { r: 3, style: { fill: color } }));
  return { group: s("g", {}, under, line, ends), under, line, ends };
}

function place({ under, line, ends }, [x1, y1, x2, y2]) {
  for (const one of [under, line]) set(one, { x1, y1, x2, y2 });
  set(ends[0], { cx: x1, cy: y1 });
  set(ends[1], { cx: x2, cy: y2 });
}

function set(element, numbers) {
  for (const [key, value] of Object.entries(numbers)) element.setAttribute(key, value.toFixed(1));
}

function onto(box, [width, height], { k, x, y }) {
  const [sx, sy] = [box.width / width, box.height / height];
  return (px, py) => [x + k * (box.x + px * sx), y + k * (box.y + py * sy)];
}

function sideBySide(width, highest, [aw, ah], [bw, bh]) {
  const height = Math.min(highest, (width - GAP) / (aw / ah + bw / bh));
  const [wa, wb] = [(height * aw) / ah, (height * bw) / bh];
  const left = (width - GAP - wa - wb) / 2;
  return [{ x: left, y: 0, width: wa, height }, { x: left + wa + GAP, y: 0, width: wb, height }];
}

function stacked(width, highest, ...sizes) {
  let y = 0;
  return sizes.map(([w, h]) => {
    const height = Math.min((width * h) / w, highest * 0.62);
    const wide = (height * w) / h;
    const box = { x: (width - wide) / 2, y, width: wide, height };
    y += height + GAP;
    return box;
  });
}
