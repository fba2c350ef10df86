## The layout of this site: every page inherits from it. It changes parts of the shared base.mako; what is not
## mentioned here stays as it is there. Save the file and load the page again, nothing else is needed in development.
##
## Text in dollar and braces is escaped. Useful variables: site.name, home_url, archive_url, feed_url, nav, title,
## static_url("file-in-static/"), entry_url("slug"), format_date(when), text("home").
<%inherit file="base.mako"/>

## What stands at the top of every page, instead of the plain name.
<%block name="brand">
<p class="site-name"><a href="${home_url}" rel="home">${site.name}</a></p>
</%block>

## Put a picture or a greeting between the header and the page here.
<%block name="intro"></%block>

## To wrap or extend the middle of every page, write around self.body(), which is the page itself.
<%block name="main">
${self.body()}
</%block>

<%block name="footer">
<footer class="site-footer">
  <p>© ${this_year} ${site.name} · <a href="${feed_url}">${text("feed")}</a></p>
</footer>
</%block>
