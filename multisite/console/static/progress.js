// Shows the progress of jobs without a click: fetches the page again every two seconds, as long as a job has not ended.
"use strict";

const SECONDS = 2;

async function refresh() {
  const main = document.querySelector("main");
  if (!main.querySelector("[data-progress]")) return;
  // Not while somebody is using a button or a link of it, which would lose the focus.
  if (!main.contains(document.activeElement) || document.activeElement === main) {
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const id of ["progress", "job-badges"]) {
        document.getElementById(id).replaceWith(page.getElementById(id));
      }
    } catch {
      // The server is not there for a moment; the next time shows.
    }
  }
  setTimeout(refresh, SECONDS * 1000);
}

setTimeout(refresh, SECONDS * 1000);
