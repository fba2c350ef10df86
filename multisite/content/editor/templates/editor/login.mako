<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Log in")}</%block>
<form method="post" action="${path('editor_login')}">
  <input type="hidden" name="next" value="${after}">
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
