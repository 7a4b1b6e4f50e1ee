/** Photos waiting to be recognized: one request each, two at a time, patient when the server is busy. */

import { ApiError, recognize } from "./api.js";

const AT_ONCE = 2;

/**
 * @typedef {object} Job
 * @property {File} file
 * @property {string} url a blob URL of the file, until the card is closed
 * @property {"queued"|"sending"|"waiting"|"done"|"failed"|"cancelled"} state
 * @property {number} wait seconds until the next try
 * @property {object=} answer
 * @property {string=} error
 */

export class Queue {
  /** @param {(job: Job) => void} onChange called whenever a job's state changes */
  constructor(onChange) {
    this.onChange = onChange;
    this.waiting = [];
    this.running = new Map();
  }

  /** Add a job, or one that failed again. `options`: gallery, effort, floor. */
  add(job, options, limit = Infinity) {
    job.options = options;
    if (job.file.size > limit) {
      const most = (limit / 2 ** 20).toFixed(0);
      this.set(job, { state: "failed", error: `${job.file.name}: larger than the ${most} MB this server takes.` });
      return;
    }
    this.set(job, { state: "queued", error: "" });
    this.waiting.push(job);
    this.next();
  }

  /** Stop everything that has not been answered. */
  cancel() {
    const dropped = this.waiting.splice(0);
    for (const controller of this.running.values()) controller.abort();
    for (const job of dropped) this.set(job, { state: "cancelled" });
  }

  /** Stop one job, silently. */
  drop(job) {
    this.waiting = this.waiting.filter((other) => other !== job);
    this.running.get(job)?.abort();
  }

  next() {
    while (this.running.size < AT_ONCE && this.waiting.length) this.start(this.waiting.shift());
  }

  async start(job) {
    const controller = new AbortController();
    this.running.set(job, controller);
    this.set(job, { state: "sending" });
    const onWait = (seconds) => this.set(job, { state: seconds ? "waiting" : "sending", wait: seconds });
    try {
      const answer = await recognize(job.file, job.options, { signal: controller.signal, onWait });
      this.set(job, { state: "done", answer });
    } catch (error) {
      const stopped = !(error instanceof ApiError) && controller.signal.aborted;
      this.set(job, stopped ? { state: "cancelled" } : { state: "failed", error: error.message });
    } finally {
      this.running.delete(job);
      this.next();
    }
  }

  set(job, patch) {
    Object.assign(job, patch);
    this.onChange(job);
  }
}
