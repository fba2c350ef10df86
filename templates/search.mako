## The search. Variables: query; hits, each with row (the entry, or a page, which has no date), title and passage in segments; pager.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<%def name="segments(found)">\
% for words, is_match in found:
% if is_match:
<mark>${words}</mark>\
% else:
${words}\
% endif
% endfor
</%def>
<h1>${title}</h1>
<form class="search-form" action="${request.route_path('search')}" role="search">
  <label for="search-words">${text("search_words")}</label>
  <input id="search-words" name="q" type="search" maxlength="200" value="${query}">
  <button>${text("search")}</button>
</form>
% if hits:
<ol class="hit-list">
% for hit in hits:
  <li>
    <h2><a href="${entry_url(hit.row.slug)}">${segments(hit.title)}</a></h2>
% if hit.row.published:
    <p class="entry-meta"><time datetime="${iso_date(hit.row.published)}">${format_date(hit.row.published)}</time></p>
% endif
    <p>${segments(hit.passage)}</p>
  </li>
% endfor
</ol>
${parts.page_links(pager)}
% elif query:
<p class="nothing-yet">${text("nothing_found")}</p>
% endif
