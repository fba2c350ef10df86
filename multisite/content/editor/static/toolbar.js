// The toolbar above the text: Markdown around the selection, or before its lines. Pressed again, it is taken away.
"use strict";
(() => {
  const text = document.getElementById("body");
  const bar = document.querySelector("[role=toolbar]");
  if (!text || !bar) return;
  bar.hidden = false;
  const buttons = [...bar.querySelectorAll("button")];

  // By this command and not by .value, so that the browser can undo it, and tells the other scripts of it.
  function replace(start, end, written, from, to) {
    text.focus();
    text.setSelectionRange(start, end);
    if (!document.execCommand(written ? "insertText" : "delete", false, written)) {
      text.setRangeText(written, start, end);
      text.dispatchEvent(new Event("input", { bubbles: true }));
    }
    text.setSelectionRange(from, to);
  }

  function around(sign) {
    const { selectionStart: start, selectionEnd: end, value } = text;
    const length = sign.length;
    const isAround = (from, to) => from >= 0 && value.slice(from, from + length) === sign
      && value.slice(to - length, to) === sign && value[from - 1] !== sign[0] && value[to] !== sign[0];
    const inside = value.slice(start, end);
    if (isAround(start - length, end + length)) {
      replace(start - length, end + length, inside, start - length, end - length);
    } else {
      replace(start, end, sign + inside + sign, start + length, end + length);
    }
  }

  function before(sign) {
    const start = text.value.lastIndexOf("\n", text.selectionStart - 1) + 1;
    const next = text.value.indexOf("\n", text.selectionEnd);
    const end = next === -1 ? text.value.length : next;
    const lines = text.value.slice(start, end).split("\n");
    const isBefore = lines.every((line) => line.startsWith(sign));
    const written = lines.map((line) => (isBefore ? line.slice(sign.length) : sign + line)).join("\n");
    replace(start, end, written, lines.length > 1 ? start : start + written.length, start + written.length);
  }

  function link() {
    const { selectionStart: start, selectionEnd: end } = text;
    const inside = text.value.slice(start, end);
    const address = start + inside.length + 3;
    replace(start, end, `[${inside}](https://)`, inside ? address : start + 1, inside ? address + 8 : start + 1);
  }

  function press(button) {
    if (button.dataset.around) around(button.dataset.around);
    else if (button.dataset.before) before(button.dataset.before);
    else if ("link" in button.dataset) link();
    else if ("picture" in button.dataset) document.getElementById("file").click();
  }

  // One stop of the Tab key; the arrow keys move within the toolbar.
  function choose(chosen) {
    for (const button of buttons) button.tabIndex = button === chosen ? 0 : -1;
  }
  choose(buttons[0]);
  bar.addEventListener("keydown", (event) => {
    const last = buttons.length - 1;
    const place = buttons.indexOf(document.activeElement);
    const places = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place ? place - 1 : last, Home: 0, End: last };
    const button = buttons[places[event.key]];
    if (!button) return;
    event.preventDefault();
    choose(button);
    button.focus();
  });
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    choose(button);
    press(button);
  });
  text.addEventListener("editor:insert", (event) => {
    const place = text.selectionEnd;
    replace(place, place, event.detail, place + event.detail.length, place + event.detail.length);
  });
  text.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    const button = buttons.find((each) => each.dataset.key === event.key);
    if (!button) return;
    event.preventDefault();
    press(button);
  });
})();
