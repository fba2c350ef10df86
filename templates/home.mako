## The newest entries. Variables: entries, pager.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<h1 class="visually-hidden">${title or site.name}</h1>
% if entries:
${parts.entry_list(entries)}
${parts.page_links(pager)}
% else:
<p class="nothing-yet">${text("nothing_yet")}</p>
% endif
