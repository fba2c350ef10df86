## The years, and the entries of one. Variables: year (or None), years, entries, pager (None without a year).
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<h1>${title}</h1>
% if year is not None:
<ol class="archive-list" reversed>
% for entry in entries:
  <li>
    <time datetime="${iso_date(entry.published)}">${format_date(entry.published, "medium")}</time>
    <a href="${entry_url(entry)}">${entry.title}</a>
  </li>
% endfor
</ol>
${parts.page_links(pager)}
<h2>${text("all_years")}</h2>
% endif
% if years:
<ul class="year-list">
% for item in years:
  <li>
    <a href="${item.url}"${' aria-current="page"' if item.year == year else '' | n}>${item.year}</a>
    <span class="year-count">${text("entry_count", n=item.count, count=format_number(item.count))}</span>
  </li>
% endfor
</ul>
% else:
<p class="nothing-yet">${text("nothing_yet")}</p>
% endif
