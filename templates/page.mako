## A page. Variables: page; parents, the pages above it that are published, the top one first.
<%inherit file="layout.mako"/>
<article class="entry">
  <header class="entry-header">
% if parents:
    <nav class="page-parents" aria-label="${text('page_parents')}">
% for each in parents:
      <a href="${entry_url(each)}">${each.title}</a> /
% endfor
    </nav>
% endif
    <h1>${page.title}</h1>
  </header>
<% image = lead_image_of(page) %>
% if image:
  <p class="entry-picture">${image}</p>
% endif
  <div class="entry-body">
${page.body_html | n}
  </div>
</article>
