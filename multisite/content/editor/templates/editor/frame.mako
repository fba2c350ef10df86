## The HTML document of every page of the editor.
<%!
    from multisite.content.editor.pages import KINDS, STATES
%>\
<!doctype html>
<html lang="${language}" dir="${direction}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title><%block name="title"></%block> – ${site.name}</title>
  <link rel="stylesheet" href="${style_path}">
  <%block name="head"></%block>
</head>
<body>
<a class="skip" href="#content">${text("skip_to_content")}</a>
% if acting:
<aside class="acting" aria-label="${t('Operator')}">${t("{operator} is signed in here as {login}. What is changed is logged.", operator=acting, login=user.login)} <a href="${console_url}">${t("Back to the console")}</a></aside>
% endif
<header class="bar">
  <p class="brand"><a href="${home_url}">${site.name}</a></p>
% if user is not None:
  <nav aria-label="${t('Editor')}">
    <ul>
      <%block name="menu">
      <li><a href="${path('editor_home')}">${t("Entries")}</a></li>
      <li><a href="${path('editor_pages')}">${t("Pages")}</a></li>
% if has_media:
      <li><a href="${path('editor_media')}">${t("Media")}</a></li>
% endif
% if user.role == "owner":
      <li><a href="${path('editor_menu')}">${t("Menu")}</a></li>
      <li><a href="${path('editor_people')}">${t("People")}</a></li>
      <li><a href="${path('editor_settings')}">${t("Settings")}</a></li>
% endif
      <li><a href="${path('editor_account')}">${user.login}</a></li>
      <li><a href="${path('editor_logout')}">${t("Log out")}</a></li>
      </%block>
    </ul>
  </nav>
% endif
</header>
<main id="content" tabindex="-1">
<h1>${self.title()}</h1>
% if error:
<p class="message error" role="alert">${error}</p>
% endif
% if done:
<p class="message done" role="status">${done}</p>
% endif
${next.body()}
</main>
</body>
</html>

<%def name="csrf()"><input type="hidden" name="csrf_token" value="${csrf_token}"></%def>

<%def name="alt_fields(alt='', decorative=False)">
<p class="field">
  <label for="alt">${t("What does the picture show?")}</label>
  <input id="alt" name="alt" maxlength="1000" value="${alt}" autocomplete="off" aria-describedby="alt-hint">
  <span class="hint" id="alt-hint">${t("For people who do not see it.")}</span>
</p>
<p class="check"><input type="checkbox" id="decorative" name="decorative" value="1"${' checked' if decorative else '' | n}>
<label for="decorative">${t("It is decorative: it shows nothing that the text does not say, or it is no picture.")}</label></p>
</%def>

<%def name="new_password()">
<p class="field">
  <label for="password">${t("New password")}</label>
  <input id="password" name="password" type="password" autocomplete="new-password" required minlength="${minimum}" aria-describedby="password-hint">
  <span class="hint" id="password-hint">${t("At least {minimum} characters, such as four words.", minimum=minimum)}</span>
</p>
<p class="field">
  <label for="repeated">${t("New password, again")}</label>
  <input id="repeated" name="repeated" type="password" autocomplete="new-password" required minlength="${minimum}">
</p>
</%def>
