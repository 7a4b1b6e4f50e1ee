/** Dialogs on the browser's own element: focus is kept inside, Escape closes, and focus returns. */

import { button, fill, h, problem } from "../dom.js";

let serial = 0;

/**
 * Ask something. `act` runs on the main button; an error it throws is shown and the dialog stays open.
 * @returns {Promise<any>} what `act` returned, or undefined when given up
 */
export function ask({ title, body = [], yes, kind = "main", act }) {
  const heading = `dialog-${++serial}`;
  const failed = h("div", {});
  const accept = h("button", { type: "submit", class: `button ${kind}` }, yes);
  const refuse = button("Cancel", { kind: "quiet", onclick: () => dialog.close() });
  const form = h("form", { method: "dialog" }, h("h2", { id: heading }, title), body, failed,
    h("div", { class: "row end" }, refuse, accept));
  const dialog = h("dialog", { "aria-labelledby": heading }, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let result;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      accept.disabled = true;
      fill(failed);
      try {
        result = await act();
        dialog.close();
      } catch (error) {
        fill(failed, problem(error));
      } finally {
        accept.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    dialog.showModal();
  });
}

/** Ask before something is lost. Resolves to true when it was done. */
export function confirmLoss({ title, text, yes, act }) {
  const run = async () => {
    await act();
    return true;
  };
  return ask({ title, body: [h("p", {}, text)], yes, kind: "danger", act: run });
}
