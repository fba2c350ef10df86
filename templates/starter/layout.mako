## The layout of this site: every page inherits from it. It overrides blocks of the shared base.mako; all others are
## inherited. In development, save this file and reload the page.
##
## Text in dollar and braces is escaped. Useful variables: site.name, home_url, archive_url, feed_url, nav, title,
## static_url("file-in-static/"), entry_url("slug"), format_date(when), text("home").
<%inherit file="base.mako"/>

## The top of every page, instead of the plain name.
<%block name="brand">
<p class="site-name"><a href="${home_url}" rel="home">${site.name}</a></p>
</%block>

## Anything between the header and the page, such as a picture.
<%block name="intro"></%block>

## To wrap or extend the main part, write around self.body(), which is the page itself.
<%block name="main">
${self.body()}
</%block>

<%block name="footer">
<footer class="site-footer">
  <p>© ${this_year} ${site.name} · <a href="${feed_url}">${text("feed")}</a></p>
</footer>
</%block>
