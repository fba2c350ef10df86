<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Remove")}</%def>
<div class="card">
<h2>${t("What is removed")}</h2>
<ul class="plain">
<% total = sum(plan.rows.values()) %>\
% if plan.rows:
  <li><details><summary>${counted("rows", total)}</summary>
  <dl>
% for table, number in plan.rows.items():
    <dt>${table}</dt><dd>${number}</dd>
% endfor
  </dl></details></li>
% else:
  <li>${t("No rows")}</li>
% endif
  <li>${counted("domains", len(record.domains))}</li>
% if plan.folder:
  <li>${t("The folder {folder}, which moves to the trash", folder=plan.folder)}</li>
% endif
</ul>
</div>
<div class="card">
<h2>${t("Before that")}</h2>
% if keeps:
<form method="post" action="${path('copy', id=site.id)}">
  ${parent.csrf()}
% if exports:
  <p>${t("The newest archive of this site is of {when}.", when=when(exports[0].made))} <a href="${path('copy', id=site.id)}">${t("All archives")}</a></p>
% else:
  <p>${t("There is no archive of this site that you could download.")}</p>
% endif
  <p><button type="submit" name="action" value="export" class="quiet">${t("Export the site")}</button></p>
</form>
% else:
<p>${t("Export the site with this command:")}</p>
<pre tabindex="0">multisite export-site ${site.domain} ${site.folder}.zip</pre>
% endif
</div>
<div class="card danger-zone">
<h2>${t("Remove")}</h2>
% if days:
<p>${t("An archive of the site is made first, and kept for {days} days: until then it can be restored.", days=days)}</p>
% else:
<p><strong>${t("No archive is kept, since multisite.archives_dir is not set: this cannot be undone.")}</strong></p>
% endif
<form method="post" action="${path('remove', id=site.id)}">
  ${parent.csrf()}
  <p class="field"><label for="domain">${t("Type the domain {domain} to confirm", domain=site.domain)}</label>
  <input id="domain" name="domain" required autocomplete="off" autocapitalize="none" spellcheck="false"></p>
  <p><button type="submit" class="danger">${t("Remove the site")}</button></p>
</form>
</div>
