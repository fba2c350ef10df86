## The HTML document. A site overrides the blocks below in its own layout.mako, and styles in static/style.css.
<!doctype html>
<html lang="${language}" dir="${direction}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title><%block name="head_title">${f"{title} – {site.name}" if title else site.name}</%block></title>
  <%include file="head.mako"/>
  <%block name="styles">
  <link rel="stylesheet" href="${static_url('base.css')}">
% if theme_css_url:
  <link rel="stylesheet" href="${theme_css_url}">
% endif
  <link rel="stylesheet" href="${static_url('style.css')}">
  </%block>
  <%block name="head"></%block>
</head>
<body class="page-${page_kind}<%block name="body_class"></%block>">
<a class="skip-link" href="#content">${text("skip_to_content")}</a>
<%block name="header">
<header class="site-header">
  <%block name="brand">
  <p class="site-name"><a href="${home_url}" rel="home">${site.name}</a></p>
  </%block>
  <%block name="tagline">
% if site.settings["tagline"]:
  <p class="tagline">${site.settings["tagline"]}</p>
% endif
  </%block>
  <%block name="menu">
  <nav class="site-nav" aria-label="${text('main_menu')}">
    <ul>
% for item in nav:
      <li><a href="${item.url}"${' aria-current="page"' if item.current else '' | n}>${item.label}</a>
% if item.children:
        <ul>
% for child in item.children:
          <li><a href="${child.url}"${' aria-current="page"' if child.current else '' | n}>${child.label}</a></li>
% endfor
        </ul>
% endif
      </li>
% endfor
    </ul>
  </nav>
  </%block>
</header>
</%block>
<%block name="intro"></%block>
<main id="content" tabindex="-1">
<%block name="main">
${self.body()}
</%block>
</main>
<%block name="aside"></%block>
<%block name="footer">
<footer class="site-footer">
  <p>© ${this_year} ${site.name} · <a href="${feed_url}">${text("feed")}</a></p>
</footer>
</%block>
</body>
</html>
