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
<header class="bar">
  <p class="brand"><a href="${home_url}">${site.name}</a></p>
% if user is not None:
  <nav aria-label="${t('Editor')}">
    <ul>
      <%block name="menu">
      <li><a href="${path('editor_home')}">${t("Entries")}</a></li>
% if user.role == "owner":
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
