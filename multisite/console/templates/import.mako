<%inherit file="frame.mako"/>
<%block name="title">${t("Import a site")}</%block>
<%block name="crumb"><p class="crumb"><a href="${path('sites')}">${t("Sites")}</a></p></%block>
% if keeps:
<form method="post" action="${path('import')}" enctype="multipart/form-data" class="card form">
  ${parent.csrf()}
  <p class="field"><label for="archive">${t("Archive")}</label>
  <input id="archive" name="archive" type="file" accept=".zip,application/zip" required aria-describedby="archive-hint">
  <span class="hint" id="archive-hint">${t("A file of export-site or of this console, of at most {number} megabytes.", number=megabytes)}</span></p>
  <p class="field"><label for="host">${t("Domain of the new site")}</label>
  <input id="host" name="host" value="${host}" maxlength="460" autocapitalize="none" spellcheck="false" autocomplete="off" aria-describedby="host-hint">
  <span class="hint" id="host-hint">${t("Leave it empty for the domains in the archive.")}</span></p>
  <p class="check"><input type="checkbox" id="users" name="users" value="none"> <label for="users">${t("Without users")}</label></p>
% if may("everything"):
  <p class="check"><input type="checkbox" id="templates" name="with_templates" value="1" aria-describedby="templates-hint"> <label for="templates">${t("With the templates of the archive")}</label>
  <span class="hint" id="templates-hint">${t("Templates are code: they run in the server, and can read the data of every site. Take them only from an archive that you have made yourself. Without them, the site has the shared templates.")}</span></p>
% else:
  <p class="hint">${t("The templates of the archive are left out: they are code, which the role everything may import.")}</p>
% endif
  <p><button type="submit">${t("Upload and import")}</button></p>
</form>
% else:
<p class="message">${t("There is no folder for archives: multisite.archives_dir is not set.")}</p>
<pre tabindex="0">multisite import-site site.zip</pre>
% endif
