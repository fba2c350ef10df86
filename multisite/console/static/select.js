// Selects all sites of the page by one checkbox, and says how many are selected.
"use strict";

const bar = document.getElementById("selection");
const boxes = [...document.querySelectorAll("tbody input[name=id]")];
const all = document.querySelector("[data-select-all]");

function show() {
  const number = boxes.filter((box) => box.checked).length;
  all.checked = number === boxes.length;
  all.indeterminate = number > 0 && !all.checked;
  bar.querySelector("output").value =
    number === 0 ? "" : number === 1 ? bar.dataset.one : bar.dataset.many.replace("{number}", number);
}

all.hidden = false;
all.addEventListener("change", () => {
  boxes.forEach((box) => (box.checked = all.checked));
  show();
});
boxes.forEach((box) => box.addEventListener("change", show));
// The boxes are cleared after this event.
bar.addEventListener("reset", () => setTimeout(show));
// A browser that goes back to the page keeps what was selected.
window.addEventListener("pageshow", show);
