<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Copy and export")}</%def>
% if is_ready:
<div class="cards">
<form method="post" action="${path('copy', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Copy")}</h2>
  <p>${t("A new site with the same rows, files and templates. It is in maintenance at first.")}</p>
  <p class="field"><label for="host">${t("Domain of the copy")}</label>
  <input id="host" name="host" value="${host}" required maxlength="460" autocapitalize="none" spellcheck="false" autocomplete="off"></p>
  <p class="check"><input type="checkbox" id="copy-users" name="users" value="none"> <label for="copy-users">${t("Without users")}</label></p>
  <p class="check"><input type="checkbox" id="copy-live" name="live" value="1"> <label for="copy-live">${t("Online at once, and not in maintenance")}</label></p>
  <p><button type="submit" name="action" value="copy">${t("Copy the site")}</button></p>
</form>
<form method="post" action="${path('copy', id=site.id)}" class="card">
  ${parent.csrf()}
  <h2>${t("Export")}</h2>
% if keeps:
  <p>${t("An archive with everything of the site, which is kept for 30 days. The site can be used meanwhile.")}</p>
  <p class="check"><input type="checkbox" id="export-users" name="users" value="none"> <label for="export-users">${t("Without users")}</label></p>
  <p><button type="submit" name="action" value="export" class="quiet">${t("Export the site")}</button></p>
% else:
  <p>${t("There is no folder for archives: multisite.archives_dir is not set.")}</p>
% endif
</form>
</div>
% endif
% if exports:
<section class="card flush" aria-labelledby="exports">
<h2 id="exports" class="in-card">${t("Archives")}</h2>
<ul class="rows card-rows">
% for each in exports:
  <li><span><b>${when(each.made)}</b><br><small>${each.name} · ${t("{number} kB", number=-(-each.size_bytes // 1000))}</small></span>
% if may("everything"):
  <a class="button quiet" href="${path('export', id=site.id, name=each.name)}">${t("Download")}<span class="unseen"> ${each.name}</span></a>
% endif
  </li>
% endfor
</ul>
</section>
% endif
<p class="hint">${t("Both are jobs, which multisite work does.")}</p>
