<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Copy")}</%def>
% if is_ready:
<div class="cards">
<form method="post" action="${path('copy', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Copy")}</h2>
  <p>${t("A new site with the same rows, files and templates. It is in maintenance at first.")}</p>
  <p class="field"><label for="host">${t("Domain of the copy")}</label>
  <input id="host" name="host" value="${host}" required maxlength="460" autocapitalize="none" spellcheck="false" autocomplete="off"></p>
  <p class="check"><input type="checkbox" id="copy-users" name="users" value="none"> <label for="copy-users">${t("Without users")}</label></p>
  <p><button type="submit" name="action" value="copy">${t("Copy the site")}</button></p>
</form>
<form method="post" action="${path('copy', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Export")}</h2>
% if keeps:
  <p>${t("An archive in the folder exports of multisite.archives_dir. The site can be used meanwhile.")}</p>
  <p class="check"><input type="checkbox" id="export-users" name="users" value="none"> <label for="export-users">${t("Without users")}</label></p>
  <p><button type="submit" name="action" value="export" class="quiet">${t("Export the site")}</button></p>
% else:
  <p>${t("There is no folder for archives: multisite.archives_dir is not set.")}</p>
% endif
</form>
</div>
<p class="hint">${t("Both are jobs, which multisite work does.")}</p>
% endif
