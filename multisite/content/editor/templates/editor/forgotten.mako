<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Forgotten password")}</%block>
% if not can_send:
<p>${t("This site sends no mail. Ask an owner of the site, or its operator, for a new link.")}</p>
% elif not done:
<form method="post" action="${path('editor_forgotten')}">
  <p class="field">
    <label for="login">${t("Login or e-mail address")}</label>
    <input id="login" name="login" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="254">
  </p>
  <p><button type="submit">${t("Send a link")}</button></p>
</form>
% endif
<p><a href="${path('editor_login')}">${t("Log in")}</a></p>
