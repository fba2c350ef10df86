// Send the form of an entry while it is typed, two seconds after the last key, and when the page is left.
"use strict";
(() => {
  const form = document.querySelector("form[data-autosave]");
  if (!form) return;
  const status = document.getElementById("autosave-status");
  const read = () => new URLSearchParams(new FormData(form)).toString();
  let sent = read();
  let timer;
  let pending;

  async function save() {
    const body = read();
    if (body === sent) return;
    pending = new AbortController();
    let kept = false;
    try {
      const headers = { "Content-Type": "application/x-www-form-urlencoded" };
      const response = await fetch(form.dataset.autosave, { method: "POST", body, headers, signal: pending.signal });
      kept = response.ok;
    } catch (error) {
      if (error.name === "AbortError") return;
    }
    if (kept) sent = body;
    status.textContent = kept ? form.dataset.kept : form.dataset.lost;
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, 2000);
  });
  form.addEventListener("submit", () => {
    clearTimeout(timer);
    if (pending) pending.abort();
    sent = null;
  });
  addEventListener("pagehide", () => {
    if (sent === null || read() === sent) return;
    navigator.sendBeacon(form.dataset.autosave, new URLSearchParams(new FormData(form)));
  });
})();
