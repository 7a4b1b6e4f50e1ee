/** Mouse, touch and keys on a viewer: wheel and pinch zoom, dragging moves, hovering points, keys do all of it. */

const STEP = 60;

export class PanZoom {
  /** @param {HTMLElement} element @param {import("./pair-viewer.js").PairViewer} viewer */
  constructor(element, viewer) {
    Object.assign(this, { element, viewer, pointers: new Map(), armed: false, spread: 0 });
    this.onScroll = () => (this.armed = false);
    window.addEventListener("scroll", this.onScroll, { passive: true });
    const on = (name, run, options) => element.addEventListener(name, run.bind(this), options);
    on("wheel", this.wheel, { passive: false });
    on("pointerdown", this.down);
    on("pointermove", this.moved);
    on("pointerup", this.up);
    on("pointercancel", this.up);
    on("pointerleave", this.leave);
    on("keydown", this.key);
    on("dblclick", (event) => viewer.zoom(2, ...this.at(event)));
  }

  destroy() {
    window.removeEventListener("scroll", this.onScroll);
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** Zoom only once the mouse has moved here since the page last scrolled, so that scrolling past is never caught. */
  wheel(event) {
    const fully = event.deltaY > 0 && this.viewer.view.k <= 1;
    if (!event.ctrlKey && (!this.armed || fully)) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    this.viewer.zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0022)), ...this.at(event));
  }

  down(event) {
    this.armed = true;
    this.pointers.set(event.pointerId, this.at(event));
    this.spread = 0;
    if (this.viewer.view.k > 1.01 || this.pointers.size > 1) this.element.setPointerCapture(event.pointerId);
    if (event.pointerType !== "mouse") this.viewer.point(...this.at(event));
  }

  moved(event) {
    if (event.movementX || event.movementY) this.armed = true;
    const now = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) this.viewer.point(...now);
    else if (this.pointers.size === 1) this.viewer.pan(now[0] - before[0], now[1] - before[1]);
    if (before) this.pointers.set(event.pointerId, now);
    if (before && this.pointers.size === 2) this.pinch();
  }

  pinch() {
    const [[ax, ay], [bx, by]] = [...this.pointers.values()];
    const spread = Math.hypot(ax - bx, ay - by);
    const middle = [(ax + bx) / 2, (ay + by) / 2];
    if (this.spread) {
      this.viewer.zoom(spread / this.spread, ...middle);
      this.viewer.pan(middle[0] - this.middle[0], middle[1] - this.middle[1]);
    }
    this.spread = spread;
    this.middle = middle;
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.spread = 0;
  }

  leave(event) {
    if (event.pointerType === "mouse" && !this.pointers.size) this.viewer.highlight(-1);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { viewer } = this;
    const keys = {
      "+": () => viewer.zoom(1.4), "=": () => viewer.zoom(1.4), "-": () => viewer.zoom(1 / 1.4), 0: () => viewer.reset(),
      ArrowLeft: () => viewer.pan(STEP, 0), ArrowRight: () => viewer.pan(-STEP, 0),
      ArrowUp: () => viewer.pan(0, STEP), ArrowDown: () => viewer.pan(0, -STEP),
      n: () => viewer.step(1), p: () => viewer.step(-1), Escape: () => viewer.highlight(-1),
    };
    const run = keys[event.key];
    if (!run || (event.key.startsWith("Arrow") && viewer.view.k <= 1.01)) return;
    event.preventDefault();
    run();
  }
}
