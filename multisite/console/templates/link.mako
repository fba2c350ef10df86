<%inherit file="frame.mako"/>
<%block name="title">${t("Choose a password")}</%block>
<p class="lead">${t("Your login is {login}.", login=new_operator.login)}</p>
<form method="post" class="card">
  <input type="hidden" name="login" value="${new_operator.login}" autocomplete="username">
% if has_codes:
  <div class="two">
    <div>
      <h2>${t("1. A password")}</h2>
      ${parent.new_password()}
    </div>
    <div>
      <h2>${t("2. An app for codes")}</h2>
      <p>${t("Scan this with an authenticator app, such as Aegis, 2FAS or that of your password manager:")}</p>
      <p class="qr" role="img" aria-label="${t('QR code')}">${qr | n}</p>
      <details><summary>${t("I cannot scan it")}</summary><p>${t("Enter this key in the app:")}</p><pre tabindex="0">${secret}</pre></details>
      ${parent.code_field(t("The code that the app shows now"))}
    </div>
  </div>
% else:
  ${parent.new_password()}
% endif
  <p><button type="submit">${t("Save and log in")}</button></p>
</form>
