// Show what is typed as a page of the site, while its part of the form is open: half a second after the last key.
"use strict";
(() => {
  const box = document.getElementById("preview");
  if (!box) return;
  const form = box.closest("form");
  const button = box.querySelector("button");
  let shown = box.querySelector("iframe");
  let timer;
  let number = 0;
  button.parentElement.hidden = true;

  // Each time in a new frame, which takes the place of the other once it is there: nothing flickers, and the first page
  // of a frame adds no step to the history of the browser.
  function show() {
    number += 1;
    const frame = shown.cloneNode();
    frame.name = `typed-${number}`;
    frame.hidden = true;
    const current = number;
    frame.addEventListener("load", () => {
      // The page of an error of the browser has another origin: the last page stays.
      const address = frame.contentDocument ? frame.contentWindow.location.href : null;
      if (address === "about:blank") return;
      if (address === null || current !== number) {
        frame.remove();
        return;
      }
      const top = shown.contentWindow.scrollY;
      shown.remove();
      shown = frame;
      frame.hidden = false;
      frame.contentWindow.scrollTo(0, top);
    });
    box.append(frame);
    // The buttons of the form are called "action", and hide the properties of that name.
    const kept = [form.getAttribute("action"), form.getAttribute("target")];
    form.setAttribute("action", button.getAttribute("formaction"));
    form.setAttribute("target", frame.name);
    HTMLFormElement.prototype.submit.call(form);
    form.setAttribute("action", kept[0]);
    if (kept[1] === null) form.removeAttribute("target");
    else form.setAttribute("target", kept[1]);
  }

  box.addEventListener("toggle", () => box.open && show());
  form.addEventListener("input", () => {
    clearTimeout(timer);
    if (box.open) timer = setTimeout(show, 500);
  });
})();
