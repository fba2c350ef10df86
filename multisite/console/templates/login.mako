<%inherit file="frame.mako"/>
<%block name="title">${t("Log in again") if is_again else t("Log in")}</%block>
% if is_again:
<p class="lead">${t("This can change more than can be undone. Enter your password and a new code to go on.")}</p>
% endif
<form method="post" action="${path('confirm') if is_again else path('login')}" class="card narrow">
% if is_again:
  ${parent.csrf()}
% endif
  <input type="hidden" name="next" value="${after}">
  <p class="field">
    <label for="login">${t("Login")}</label>
    <input id="login" name="login" value="${login}" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="254"${' readonly' if is_again else '' | n}>
  </p>
  <p class="field">
    <label for="password">${t("Password")}</label>
    <input id="password" name="password" type="password" autocomplete="current-password" required>
  </p>
% if has_codes:
  ${parent.code_field(t("Code"))}
% endif
  <p><button type="submit">${t("Go on") if is_again else t("Log in")}</button></p>
</form>
<form method="post" action="${path('passkey_confirm') if is_again else path('passkey_log_in')}" class="card narrow" hidden data-passkey="get" data-options="${path('passkey_challenge')}" data-cancelled="${t('The passkey was not used.')}">
% if is_again:
  ${parent.csrf()}
% endif
  <input type="hidden" name="next" value="${after}">
  <input type="hidden" name="credential">
  <p><button type="submit" class="quiet">${t("Go on with a passkey") if is_again else t("Log in with a passkey")}</button></p>
  <p class="fault" role="alert" hidden></p>
</form>
${parent.passkey_script()}
% if not is_again:
<p class="hint narrow">${t("Another operator, or the command multisite reset-operator, makes a new link if you have lost your password or your phone.")}</p>
% endif
