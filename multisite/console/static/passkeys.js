// Log in by a passkey, and make one. Each form with data-passkey names the page that returns the options.
"use strict";

const toBytes = (text) => {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (c) => c.charCodeAt(0));
};

const toText = (buffer) =>
  buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const withBytes = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

async function ask(kind, options) {
  options.challenge = toBytes(options.challenge);
  if (kind === "create") {
    options.user.id = toBytes(options.user.id);
    options.excludeCredentials = withBytes(options.excludeCredentials);
    return navigator.credentials.create({ publicKey: options });
  }
  options.allowCredentials = withBytes(options.allowCredentials);
  return navigator.credentials.get({ publicKey: options });
}

function toJson(credential) {
  const response = { clientDataJSON: toText(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) {
      response[name] = toText(credential.response[name]);
    }
  }
  return JSON.stringify({
    id: credential.id,
    rawId: toText(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const problem = form.querySelector("[role=alert]");
  if (!window.PublicKeyCredential) {
    continue;
  }
  form.hidden = false;
  document.querySelectorAll("[data-without-passkeys]").forEach((each) => (each.hidden = true));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      const token = form.elements.csrf_token;
      const answer = await fetch(form.dataset.options, {
        method: "POST",
        body: new URLSearchParams(token ? { csrf_token: token.value } : {}),
      });
      if (answer.redirected) {
        // Password and code are to be entered again, and this page asks for them.
        location.reload();
        return;
      }
      if (!answer.ok) {
        throw new Error(await answer.text());
      }
      form.elements.credential.value = toJson(await ask(form.dataset.passkey, await answer.json()));
      form.submit();
    } catch (error) {
      problem.textContent = error.name === "NotAllowedError" ? form.dataset.cancelled : error.message;
      problem.hidden = false;
    }
  });
}
