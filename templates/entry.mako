## One entry. Variables: entry; newer and older, the adjacent entries by date, or None.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<article class="entry">
  <header class="entry-header">
    <h1>${entry.title}</h1>
    ${parts.entry_meta(entry)}
  </header>
<% image = lead_image_of(entry) %>
% if image:
  <p class="entry-picture">${image}</p>
% endif
  <div class="entry-body">
${entry.body_html | n}
  </div>
</article>
% if newer or older:
<nav class="pager" aria-label="${text('pager')}">
% if newer:
  <a class="pager-newer" href="${entry_url(newer)}" rel="next"><span>← ${text("newer")}</span> ${newer.title}</a>
% endif
% if older:
  <a class="pager-older" href="${entry_url(older)}" rel="prev"><span>${text("older")} →</span> ${older.title}</a>
% endif
</nav>
% endif
