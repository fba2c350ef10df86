<%inherit file="layout.mako"/>
<%block name="title">Latest entries</%block>
<h1>Latest entries</h1>
% for slug, title, summary, published in entries:
<article>
<h2><a href="/entry/${slug}">${title}</a></h2>
<p><time datetime="${published.isoformat()}">${published.strftime("%d %B %Y")}</time></p>
<p>${summary}</p>
</article>
% endfor
