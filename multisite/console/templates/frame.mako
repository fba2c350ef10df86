## The HTML document of every page of the console.
<%!
ICONS = {
    "sites": "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
    "removed": "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
    "jobs": "M12 7v5l3 3M21 12a9 9 0 1 1-18 0a9 9 0 0 1 18 0z",
    "log": "M9 6h11M9 12h11M9 18h11M4 6h1M4 12h1M4 18h1",
    "health": "M3 12h4l3-8 4 16 3-8h4",
    "operators": "M12 12a4 4 0 1 0 0-8a4 4 0 0 0 0 8zM4 21c0-4 4-6 8-6s8 2 8 6",
}
%>\
<!doctype html>
<html lang="${language}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title><%block name="title"></%block> – ${t("Console")}</title>
  <link rel="stylesheet" href="${style_path}">
</head>
<body class="${'' if operator else 'alone'}">
<a class="skip" href="#content">${t("Skip to the content")}</a>
% if operator:
<header class="side">
  <p class="brand"><a href="${path('sites')}"><span class="mark" aria-hidden="true"></span>multisite</a></p>
  <nav aria-label="${t('Console')}">
    <ul>
% for route, text, role, routes in navigation:
% if may(role):
      <li><a href="${path(route)}"${' aria-current="page"' if here in routes else '' | n}><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true"><path d="${ICONS[route]}"/></svg><span>${t(text)}</span>${job_badges() if route == "jobs" else ""}</a></li>
% endif
% endfor
    </ul>
  </nav>
  <ul class="own">
    <li><a href="${path('account')}"${' aria-current="page"' if here == 'account' else '' | n}>${operator.login}</a></li>
    <li><a href="${path('logout')}">${t("Log out")}</a></li>
  </ul>
</header>
% endif
<main id="content" tabindex="-1">
<%block name="top">
<%block name="crumb"></%block>
<div class="top"><h1>${self.title()}</h1><%block name="actions"></%block></div>
</%block>
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

<%def name="job_badges()">\
<span id="job-badges">\
% if log_in.open_jobs:
 <span class="badge">${log_in.open_jobs}<span class="unseen"> ${t("waiting or running")}</span></span>\
% endif
% if log_in.failed_jobs:
 <span class="badge bad" title="${t('failed within the last day')}">${log_in.failed_jobs}<span class="unseen"> ${t("failed within the last day")}</span></span>\
% endif
</span>\
</%def>

<%def name="empty(text, href=None, action=None)">
<div class="card empty">
  <p>${text}</p>
% if href:
  <p><a class="button quiet" href="${href}">${action}</a></p>
% endif
</div>
</%def>

<%def name="csrf()"><input type="hidden" name="csrf_token" value="${csrf_token}"></%def>

<%def name="pill(status)"><span class="pill ${status}">${t(statuses[status]) if status in statuses else status}</span></%def>

<%def name="add_steps(done)">
<ol class="steps">
% for number, text in enumerate((t("The domains are reserved. The site is not served yet."), t("Its folder of templates is made."), t("The site is online."))):
  <li${' class="is-done"' if number < done else '' | n}>${text}${f' ({t("done")})' if number < done else ""}</li>
% endfor
</ol>
</%def>

<%def name="option(value, text, chosen)"><option value="${value}"${' selected' if value == chosen else '' | n}>${text}</option></%def>

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

<%def name="passkey_script()"><script src="${passkeys_path}" defer></script></%def>

<%def name="code_field(name)">
<p class="field">
  <label for="code">${name}</label>
  <input id="code" name="code" class="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="7" pattern="[0-9 ]*" aria-describedby="code-hint">
  <span class="hint" id="code-hint">${t("Six digits from the app on your phone.")}</span>
</p>
</%def>

<%def name="given_link(text, link)">
% if link:
<div class="card link-once">
  <p>${text}</p>
  <pre tabindex="0">${link}</pre>
</div>
% endif
</%def>
