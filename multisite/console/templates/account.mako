<%inherit file="frame.mako"/>
<%block name="title">${t("Account of {login}", login=operator.login)}</%block>
<section class="card" aria-labelledby="log-ins">
<h2 id="log-ins">${t("Log-ins")}</h2>
<ul class="rows">
% for each in log_ins:
  <li>
<% name = browser_name(each.agent) %>\
    <span><span title="${each.agent}">${name}</span>\
% if each.id == own:
 <span class="pill active">${t("This browser")}</span>\
% endif
<br><small>${t("Last used {when}", when=when(each.seen))}</small></span>
% if each.id != own:
    <form method="post" action="${path('end_log_in', id=each.id)}">
      ${parent.csrf()}
      <button type="submit" class="quiet">${t("End")}<span class="unseen"> ${name}</span></button>
    </form>
% endif
  </li>
% endfor
</ul>
</section>
<section class="card" aria-labelledby="passkeys">
<h2 id="passkeys">${t("Passkeys")}</h2>
<p>${t("A passkey of your phone, your computer or a security key logs you in without password and code.")}</p>
% if passkeys:
<ul class="rows">
% for each in passkeys:
  <li>
    <span><b>${each.name}</b><br><small>${t("Added {when}", when=when(each.created, "date"))} · ${t("Last used {when}", when=when(each.used)) if each.used else t("not used yet")}</small></span>
    <details>
      <summary class="button quiet">${t("Change")}<span class="unseen"> ${each.name}</span></summary>
      <form method="post" action="${path('rename_passkey', id=each.id)}" class="filters">
        ${parent.csrf()}
        <p class="field wide"><label for="passkey-${each.id}">${t("Name of the device")}</label>
        <input id="passkey-${each.id}" name="name" value="${each.name}" required maxlength="100" autocomplete="off"></p>
        <p class="field"><button type="submit" class="quiet">${t("Rename")}<span class="unseen"> ${each.name}</span></button></p>
      </form>
      <form method="post" action="${path('remove_passkey', id=each.id)}">
        ${parent.csrf()}
        <button type="submit" class="quiet danger">${t("Remove")}<span class="unseen"> ${each.name}</span></button>
      </form>
    </details>
  </li>
% endfor
</ul>
% endif
<p class="hint" data-without-passkeys>${t("To add one, use a browser that has passkeys and runs scripts.")}</p>
<form method="post" action="${path('passkeys')}" class="filters" hidden data-passkey="create" data-options="${path('new_passkey')}" data-cancelled="${t('The passkey was not used.')}">
  ${parent.csrf()}
  <input type="hidden" name="credential">
  <p class="field wide"><label for="passkey-name">${t("Name of the device")}</label>
  <input id="passkey-name" name="name" required maxlength="100" autocomplete="off"></p>
  <p class="field"><button type="submit" class="quiet">${t("Add a passkey")}</button></p>
  <p class="fault" role="alert" hidden></p>
</form>
</section>
${parent.passkey_script()}
<section class="card" aria-labelledby="new-password">
<h2 id="new-password">${t("Password")}</h2>
<form method="post" action="${path('account')}">
  ${parent.csrf()}
  ${parent.new_password()}
  <p class="actions"><button type="submit">${t("Change the password")}</button> <span class="hint">${t("All other log-ins end.")}</span></p>
</form>
</section>
