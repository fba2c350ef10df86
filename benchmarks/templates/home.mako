<%inherit file="layout.mako"/>
<%block name="title">Latest entries</%block>
<h1>Latest entries</h1>
% for entry in entries:
<article>
<h2><a href="/entry/${entry.slug}">${entry.title}</a></h2>
<p><time datetime="${entry.published.isoformat()}">${entry.published.strftime("%d %B %Y")}</time></p>
<p>${entry.summary}</p>
</article>
% endfor
