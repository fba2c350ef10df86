## For search engines and link previews. A layout that is a whole document includes this file in its <head>.
<%! from multisite.content.head import head_of %>
<% head = head_of(request, context.kwargs) %>
% if canonical_url:
  <link rel="canonical" href="${canonical_url}">
% endif
% if head.prev_url:
  <link rel="prev" href="${head.prev_url}">
% endif
% if head.next_url:
  <link rel="next" href="${head.next_url}">
% endif
  <link rel="alternate" type="application/atom+xml" href="${feed_url}" title="${site.name}">
% if head.robots:
  <meta name="robots" content="${head.robots}">
% endif
% if head.description:
  <meta name="description" content="${head.description}">
% endif
% for name, value in head.properties:
  <meta property="${name}" content="${value}">
% endfor
% if head.json_ld:
  <script type="application/ld+json">${head.json_ld | n}</script>
% endif
