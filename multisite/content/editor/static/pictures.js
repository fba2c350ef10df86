// Upload files that are chosen, dropped or pasted, one after the other, ask what the pictures show, and add them to the
// text as Markdown, which the server writes.
"use strict";
(() => {
  const box = document.getElementById("pictures");
  const text = document.getElementById("body");
  if (!box || !text) return;
  const file = document.getElementById("file");
  const list = document.getElementById("uploads");
  const item = document.getElementById("upload");
  const token = box.closest("form").querySelector("[name=csrf_token]").value;
  let last = Promise.resolve();

  document.getElementById("without-script").remove();
  document.getElementById("drop-hint").hidden = false;
  file.multiple = true;
  file.removeAttribute("name"); // The form itself sends no file.

  // Not by fetch, which does not tell how much of a request is sent.
  function send(address, fields, progress) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest();
      const failed = () => resolve({ error: request.status === 403 ? box.dataset.logIn : box.dataset.failed });
      request.open("POST", address);
      request.setRequestHeader("Accept", "application/json");
      request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
      request.onerror = failed;
      request.onload = () => {
        try {
          resolve(JSON.parse(request.responseText));
        } catch {
          failed();
        }
      };
      request.send(fields);
    });
  }

  function insert(row, written) {
    const before = text.value.slice(0, text.selectionEnd);
    const gap = before === "" || before.endsWith("\n\n") ? "" : before.endsWith("\n") ? "\n" : "\n\n";
    text.dispatchEvent(new CustomEvent("editor:insert", { detail: `${gap}${written}\n\n` }));
    row.querySelector(".answer").hidden = true;
    row.querySelector("[role=status]").textContent = box.dataset.inserted;
  }

  function ask(row, found) {
    const [shows, decorative] = row.querySelectorAll("input");
    const button = row.querySelector("button");
    const status = row.querySelector("[role=status]");
    button.querySelector("span").textContent = ` ${found.name}`;
    row.querySelector(".answer").hidden = false;
    button.addEventListener("click", async () => {
      if (!shows.value.trim() && !decorative.checked) {
        status.textContent = box.dataset.asked;
        shows.focus();
        return;
      }
      button.disabled = true;
      const fields = new URLSearchParams({ csrf_token: token, alt: shows.value });
      if (decorative.checked) fields.set("decorative", "1");
      const answer = await send(found.address, fields, () => {});
      button.disabled = false;
      if (answer.markdown) insert(row, answer.markdown);
      else status.textContent = answer.error || box.dataset.failed;
    });
    shows.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // It would save the form.
      button.click();
    });
  }

  async function upload(row, chosen) {
    const fields = new FormData();
    fields.set("csrf_token", token);
    fields.set("file", chosen);
    const bar = row.querySelector("progress");
    const answer = await send(box.dataset.upload, fields, (part) => { bar.value = part; });
    bar.remove();
    const found = answer.files && answer.files[0];
    if (!found) {
      row.querySelector("[role=status]").textContent = answer.error || box.dataset.failed;
      return;
    }
    const image = row.querySelector("img");
    if (found.thumbnail) {
      image.src = found.thumbnail;
      image.hidden = false;
    }
    const pictures = document.getElementById("picture");
    if (found.picture && ![...pictures.options].some((option) => option.value === found.picture)) {
      pictures.append(new Option(found.name, found.picture));
    }
    if (found.markdown) insert(row, found.markdown);
    else ask(row, found);
  }

  function add(files) {
    for (const chosen of files) {
      const row = item.content.firstElementChild.cloneNode(true);
      row.querySelector(".name").textContent = chosen.name;
      list.append(row);
      last = last.then(() => upload(row, chosen));
    }
    list.hidden = false;
    box.open = true;
  }

  file.addEventListener("change", () => {
    add(file.files);
    file.value = "";
  });
  text.addEventListener("paste", (event) => {
    // A word processor puts a picture of the text beside the text.
    if (!event.clipboardData.files.length || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });
  text.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    text.classList.add("target");
  });
  text.addEventListener("dragleave", () => text.classList.remove("target"));
  text.addEventListener("drop", (event) => {
    text.classList.remove("target");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  });
})();
