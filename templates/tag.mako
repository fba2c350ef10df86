## The entries with one tag. Variables: tag, entries, pager.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<h1>${title}</h1>
${parts.entry_list(entries)}
${parts.page_links(pager)}
