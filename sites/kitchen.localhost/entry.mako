## A recipe: its name and picture side by side, then what to buy and what to do.
<%inherit file="layout.mako"/>
<%namespace name="parts" file="parts.mako"/>
<article class="entry">
  <header class="entry-header">
    <div class="entry-words">
      <h1>${entry.title}</h1>
% if entry.summary:
      <p class="entry-summary">${entry.summary}</p>
% endif
      ${parts.entry_meta(entry)}
    </div>
    ${parts.picture(entry, lead_image_of(entry))}
  </header>
  <div class="entry-body">
${entry.body_html | n}
  </div>
</article>
% if newer or older:
<nav class="pager" aria-label="${text("pager")}">
% if newer:
  <a class="pager-newer" href="${entry_url(newer)}" rel="next"><span>← ${text("newer")}</span> ${newer.title}</a>
% endif
% if older:
  <a class="pager-older" href="${entry_url(older)}" rel="prev"><span>${text("older")} →</span> ${older.title}</a>
% endif
</nav>
% endif
