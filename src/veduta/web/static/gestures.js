/** Mouse, touch and keys on a stage: wheel and pinch zoom, dragging moves, hovering points, keys do all of it. */

const STEP = 60;

export class Gestures {
  /** @param {HTMLElement} element @param {import("./stage.js").Stage} stage */
  constructor(element, stage) {
    Object.assign(this, { element, stage, pointers: new Map(), armed: false, spread: 0 });
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
    on("dblclick", (event) => stage.zoom(2, ...this.at(event)));
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
    const fully = event.deltaY > 0 && this.stage.view.k <= 1;
    if (!event.ctrlKey && (!this.armed || fully)) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    this.stage.zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0022)), ...this.at(event));
  }

  down(event) {
    this.armed = true;
    this.pointers.set(event.pointerId, this.at(event));
    this.spread = 0;
    if (this.stage.view.k > 1.01 || this.pointers.size > 1) this.element.setPointerCapture(event.pointerId);
    if (event.pointerType !== "mouse") this.stage.point(...this.at(event));
  }

  moved(event) {
    if (event.movementX || event.movementY) this.armed = true;
    const now = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) this.stage.point(...now);
    else if (this.pointers.size === 1) this.stage.pan(now[0] - before[0], now[1] - before[1]);
    if (before) this.pointers.set(event.pointerId, now);
    if (before && this.pointers.size === 2) this.pinch();
  }

  pinch() {
    const [[ax, ay], [bx, by]] = [...this.pointers.values()];
    const spread = Math.hypot(ax - bx, ay - by);
    const middle = [(ax + bx) / 2, (ay + by) / 2];
    if (this.spread) {
      this.stage.zoom(spread / this.spread, ...middle);
      this.stage.pan(middle[0] - this.middle[0], middle[1] - this.middle[1]);
    }
    this.spread = spread;
    this.middle = middle;
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.spread = 0;
  }

  leave(event) {
    if (event.pointerType === "mouse" && !this.pointers.size) this.stage.highlight(-1);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { stage } = this;
    const keys = {
      "+": () => stage.zoom(1.4), "=": () => stage.zoom(1.4), "-": () => stage.zoom(1 / 1.4), 0: () => stage.reset(),
      ArrowLeft: () => stage.pan(STEP, 0), ArrowRight: () => stage.pan(-STEP, 0),
      ArrowUp: () => stage.pan(0, STEP), ArrowDown: () => stage.pan(0, -STEP),
      n: () => stage.step(1), p: () => stage.step(-1), Escape: () => stage.highlight(-1),
    };
    const run = keys[event.key];
    if (!run || (event.key.startsWith("Arrow") && stage.view.k <= 1.01)) return;
    event.preventDefault();
    run();
  }
}
