<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Account of {login}", login=user.login)}</%block>
<h2>${t("Password")}</h2>
<form method="post" action="${path('editor_account')}">
  ${parent.csrf()}
  <p class="field">
    <label for="current">${t("Current password")}</label>
    <input id="current" name="current" type="password" autocomplete="current-password" required>
  </p>
  ${parent.new_password()}
  <p><button type="submit">${t("Change the password, and end all other log-ins")}</button></p>
</form>
<h2>${t("Log-ins")}</h2>
<ul class="rows">
% for each in log_ins:
  <li>
<% name = browser_name(each.agent) %>\
    <span><span title="${each.agent}">${name}</span><br><small>${t("Last used {when}", when=when(each.seen))}</small></span>
% if each.id == own:
    <strong>${t("This browser")}</strong>
% else:
    <form method="post" action="${path('editor_end_log_in', id=each.id)}">
      ${parent.csrf()}
      <button type="submit" class="quiet">${t("End")}<span class="unseen"> ${name}</span></button>
    </form>
% endif
  </li>
% endfor
</ul>
