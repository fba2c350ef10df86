## The shared parts in this site's style: a list of entries is a grid of cards, each with a picture for its tag.
<%!
    # The tags that have a picture of their own in static/img/; the first of an entry's tags that is here decides.
    PICTURES = frozenset("biscuits bread cake chicken chickpeas grains knives pancakes pickles soup".split())

    def picture_name(entry):
        return next((tag.slug for tag in entry.tags if tag.slug in PICTURES), "plate")
%>

<%def name="picture(entry, image=None)">
% if image:
<div class="picture picture-photo">${image}</div>
% else:
<div class="picture picture-${picture_name(entry)}"><img src="${static_url(f"img/{picture_name(entry)}.svg")}" alt="" width="240" height="180"></div>
% endif
</%def>

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
  <article class="entry-card">
    ${picture(entry, image_of(entry, entries))}
    <div class="entry-words">
      <h${level}><a href="${entry_url(entry)}">${entry.title}</a></h${level}>
% if entry.summary:
      <p class="entry-summary">${entry.summary}</p>
% endif
      ${tag_list(entry.tags)}
    </div>
  </article>
% endfor
</div>
</%def>

<%def name="page_links(pager)">
% if pager.newer_url or pager.older_url:
<nav class="pager" aria-label="${text("pager")}">
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
