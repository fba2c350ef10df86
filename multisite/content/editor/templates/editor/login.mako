<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Log in")}</%block>
% if kept:
<p class="message">${t("Your log-in has ended. Log in to go on: your text is kept.")}</p>
% endif
<form method="post" action="${path('editor_login')}">
  <input type="hidden" name="next" value="${after}">
% for name, value in kept.items():
  <input type="hidden" name="kept.${name}" value="${value}">
% endfor
  <p class="field">
    <label for="login">${t("Login")}</label>
    <input id="login" name="login" value="${login}" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="254">
  </p>
  <p class="field">
    <label for="password">${t("Password")}</label>
    <input id="password" name="password" type="password" autocomplete="current-password" required>
  </p>
  <p><button type="submit">${t("Log in")}</button></p>
</form>
<p><a href="${path('editor_forgotten')}">${t("I have forgotten my password")}</a></p>
