// Complete the last of the tags: the browser compares the list with the whole line, so the list gets the tags before it.
"use strict";
(() => {
  const line = document.getElementById("tags");
  const list = document.getElementById("known-tags");
  if (!line || !list) return;
  const names = [...list.options].map((option) => option.value);

  line.addEventListener("input", () => {
    const before = line.value.slice(0, line.value.lastIndexOf(",") + 1);
    const chosen = before.split(",").map((tag) => tag.trim().toLowerCase());
    const left = names.filter((name) => !chosen.includes(name.toLowerCase()));
    list.replaceChildren(...left.map((name) => new Option("", before ? `${before} ${name}` : name)));
  });
})();
