## Parts that several pages share. A site may replace this file with its own parts.mako, with the same four defs.

<%def name="entry_meta(entry)">
<p class="entry-meta">
  <time datetime="${iso_date(entry.published)}">${format_date(entry.published)}</time>
% if entry.tags:
  ${tag_list(entry.tags)}
% endif
</p>
</%def>

<%def name="tag_list(tags)">
<span class="tag-list">
% for tag in tags:
  <a href="${tag_url(tag)}" rel="tag">${tag.name}</a>
% endfor
</span>
</%def>

<%def name="entry_list(entries, level=2)">
<div class="entry-list">
% for entry in entries:
<% image = image_of(entry, entries) %>
  <article class="entry-card">
% if image:
    <p class="entry-picture">${image}</p>
% endif
    <h${level}><a href="${entry_url(entry)}">${entry.title}</a></h${level}>
    ${entry_meta(entry)}
% if entry.summary:
    <p class="entry-summary">${entry.summary}</p>
% endif
  </article>
% endfor
</div>
</%def>

<%def name="page_links(pager)">
% if pager.newer_url or pager.older_url:
<nav class="pager" aria-label="${text('pager')}">
% if pager.newer_url:
  <a class="pager-newer" href="${pager.newer_url}" rel="prev">← ${text("newer")}</a>
% endif
% if pager.number:
  <span class="pager-number">${text("page_number", number=format_number(pager.number))}</span>
% endif
% if pager.older_url:
  <a class="pager-older" href="${pager.older_url}" rel="next">${text("older")} →</a>
% endif
</nav>
% endif
</%def>
