/** The groups of the library: those without a name first, then those that have one. */

import { listGroups } from "../api.js";
import { button, count, fill, h } from "../dom.js";
import { GroupCard } from "./group-card.js";

const PAGE = 20;
const NOTHING = "No photos of one place are waiting for a name. Find some with the command veduta library group.";

export class GroupList {
  /** @param {string} gallery the gallery of names and references @param {() => void} onCount called when `unnamed` changes */
  constructor(gallery, onCount) {
    Object.assign(this, { gallery, onCount, cards: [], unnamed: 0 });
    this.lead = h("p", { class: "lead" }, "Photos that show the same place. Name it once, and all of them get the name.");
    this.open = h("div", { class: "reviews" });
    this.named = h("div", { class: "reviews" });
    this.heading = h("h2", { hidden: true }, "Named");
    this.element = h("div", { class: "reviews", data: { testid: "places" } }, this.lead, this.open, this.heading, this.named);
  }

  destroy() {
    for (const card of this.cards) card.destroy();
  }

  async load() {
    await Promise.all([this.add("unnamed", this.open), this.add("named", this.named)]);
    this.lead.textContent = this.unnamed ? this.lead.textContent : NOTHING;
  }

  /** Show the next groups of a state; more of them on request. */
  async add(state, list, offset = 0) {
    const { groups, total } = await listGroups(state, offset, PAGE);
    const cards = groups.map((group) => new GroupCard(group, this.gallery, (card, by) => this.changed(card, by)));
    this.cards.push(...cards);
    list.append(...cards.map((card) => card.element));
    if (state === "unnamed") this.unnamed = total;
    else this.heading.hidden = !total;
    const rest = total - offset - groups.length;
    if (rest > 0) list.append(this.moreOf(state, list, rest));
    return cards;
  }

  moreOf(state, list, rest) {
    const row = h("div", { class: "row center" });
    const more = button(`Show more (${count(rest, "place")})`, { onclick: async () => {
      more.disabled = true;
      // Groups that were named meanwhile are no longer among the unnamed ones, and the other way round.
      const shown = this.cards.filter((card) => Boolean(card.group.landmark) === (state === "named")).length;
      const [first] = await this.add(state, list, shown);
      row.remove();
      first?.focus();
    } });
    fill(row, more);
    return row;
  }

  /** A group got a name (-1), and the next one is asked for, or lost a name (1). */
  changed(card, by) {
    this.unnamed += by;
    this.onCount();
    if (by > 0) return card.focus();
    const rest = this.cards.slice(this.cards.indexOf(card) + 1);
    return (rest.find((one) => !one.group.landmark) ?? card).focus();
  }
}
