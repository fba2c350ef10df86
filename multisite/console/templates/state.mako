<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("State")}</%def>
${parent.given_link(t("The site is in maintenance. This link bypasses the maintenance page; it is shown once:"), link)}
% if is_ready:
<div class="cards">
% if record.status != "active":
<form method="post" action="${path('state', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Open")}</h2>
  <p>${t("Visitors see the site again.")}</p>
  <p><button type="submit" name="action" value="open">${t("Bring it back online")}</button></p>
</form>
% endif
<form method="post" action="${path('state', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Maintenance")}</h2>
  <p>${t("Visitors get a page with your message, and the status 503. The site does not come back by itself.")}</p>
  <p class="field"><label for="message">${t("Message")}</label>
  <input id="message" name="message" value="${message}" maxlength="${maximum}" autocomplete="off"></p>
  <p class="field"><label for="until">${t("Announced end, in the time zone {zone}", zone=site.timezone)}</label>
  <input id="until" name="until" type="datetime-local" value="${until}"></p>
  <p><button type="submit" name="action" value="maintain" class="quiet">${t("Begin maintenance")}</button></p>
</form>
% if record.status != "disabled":
<form method="post" action="${path('state', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Disable")}</h2>
  <p>${t("The site answers 404 on all its domains. Nothing is deleted.")}</p>
  <p><button type="submit" name="action" value="disable" class="quiet danger">${t("Disable the site")}</button></p>
</form>
% endif
</div>
% endif
