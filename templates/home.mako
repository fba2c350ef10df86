## The newest entries. Variables: entries, pager.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<h1 class="visually-hidden">${title or site.name}</h1>
% if entries:
${parts.entry_list(entries)}
${parts.page_links(pager)}
% else:
<p class="nothing-yet">${text("nothing_yet")}</p>
% if import_command:
<div class="next-step">
<p>If this is your site: import a folder of Markdown files, and edit <code>layout.mako</code> in the site’s folder.</p>
<p><code class="command">${import_command}</code></p>
<p>Drafts, and entries dated in the future, are not shown. (This is said because pyramid.reload_templates is on.)</p>
</div>
% endif
% endif
