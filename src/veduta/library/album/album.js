"use strict";
(() => {
  const viewer = document.getElementById("viewer");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let roll = [], at = 0, from = null;

  const make = (tag, name, text, label) => {
    const made = document.createElement(tag);
    made.className = name;
    if (text) made.textContent = text;
    if (label) made.setAttribute("aria-label", label);
    return made;
  };
  const picture = make("img", "picture");
  const note = make("p", "note");
  const words = make("span", ""), place = make("span", "soft"), file = make("a", "file");
  note.setAttribute("aria-live", "polite");
  note.append(words, place, file);
  file.target = "_blank";
  file.rel = "noopener";
  const back = make("button", "turn back", "\u2039", "Previous photo");
  const on = make("button", "turn on", "\u203a", "Next photo");
  const shut = make("button", "shut", "\u00d7", "Close");
  viewer.append(picture, note, back, on, shut);

  /* The thumbnail first; the photo itself once it is there. Some kinds of files no browser shows: then it stays. */
  const show = (number) => {
    at = (number + roll.length) % roll.length;
    const link = roll[at], thumb = link.querySelector("img");
    picture.src = thumb.src;
    picture.alt = thumb.alt;
    viewer.dataset.state = "small";
    const whole = new Image();
    whole.onload = () => {
      if (roll[at] === link) { picture.src = whole.src; viewer.dataset.state = "whole"; }
    };
    whole.onerror = () => { if (roll[at] === link) viewer.dataset.state = "only-small"; };
    whole.src = link.href;
    words.textContent = link.dataset.note;
    place.textContent = roll.length > 1 ? `${at + 1} of ${roll.length}` : "";
    file.textContent = link.dataset.name;
    file.href = link.href;
    back.hidden = on.hidden = roll.length < 2;
  };

  const open = (link) => {
    const scope = link.closest("[popover]") ?? link.closest("[data-roll]") ?? document;
    roll = [...scope.querySelectorAll("a.photo")].filter((each) => each === link || each.checkVisibility?.() !== false);
    from = link;
    viewer.showModal();
    show(roll.indexOf(link));
    (roll.length > 1 ? on : shut).focus();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.photo");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link);
  });
  back.addEventListener("click", () => show(at - 1));
  on.addEventListener("click", () => show(at + 1));
  shut.addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    else if (event.key === "ArrowRight") show(at + 1);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(roll.length - 1);
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("close", () => {
    const last = roll[at] ?? from, pile = last?.closest("[popover]");
    picture.removeAttribute("src");
    pile?.showPopover();
    last?.focus({preventScroll: true});
    last?.scrollIntoView({block: "nearest", behavior: still ? "auto" : "smooth"});
  });
  let start = null;
  viewer.addEventListener("touchstart", (event) => {
    start = event.touches.length === 1 ? event.touches[0].clientX : null;
  }, {passive: true});
  viewer.addEventListener("touchend", (event) => {
    const moved = start === null ? 0 : event.changedTouches[0].clientX - start;
    if (Math.abs(moved) > 50 && roll.length > 1) show(at + (moved < 0 ? 1 : -1));
  }, {passive: true});

  const box = document.getElementById("filter");
  if (!box) return;
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const found = [...document.querySelectorAll("[data-find]")].map((each) => [each, plain(each.dataset.find)]);
  const status = box.parentElement.querySelector("[role=status]");
  box.parentElement.hidden = false;
  box.addEventListener("input", () => {
    const parts = plain(box.value).split(/\s+/).filter(Boolean);
    let left = 0;
    for (const [each, text] of found) {
      each.hidden = !parts.every((part) => text.includes(part));
      left += !each.hidden && each.matches(".place");
    }
    status.textContent = parts.length ? (left === 1 ? "1 place" : `${left} places`) : "";
  });
})();
