## The shared document with an awning above. Each shelf is a tag; tags without recipes are left out.
<%inherit file="base.mako"/>

<%block name="styles">
  <link rel="icon" href="${static_url("favicon.svg")}" type="image/svg+xml">
  <meta name="theme-color" content="#b92b17">
  <link rel="stylesheet" href="${static_url("style.css")}">
</%block>

<%block name="header">
<div class="awning"></div>
<header class="site-header">
  <p class="site-name"><a href="${home_url}" rel="home">${site.name}</a></p>
  <nav class="site-nav" aria-label="${text("main_menu")}">
    <ul>
% for item in nav:
% for link in (item, *item.children):
      <li><a href="${link.url}"${' aria-current="page"' if link.current else "" | n}>${link.label}</a></li>
% endfor
% endfor
      <li><a href="${tag_url("weeknight")}">Weeknights</a></li>
      <li><a href="${tag_url("baking")}">Baking</a></li>
      <li><a href="${tag_url("vegan")}">Vegan</a></li>
      <li><a href="${tag_url("basics")}">Basics</a></li>
    </ul>
  </nav>
% if page_kind == "home" and not title:
  <p class="slogan">Good things, tested until they are boring to make and exciting to eat.</p>
% endif
</header>
</%block>

<%block name="footer">
<footer class="site-footer">
  <p class="sign-off">Taste it. It needs salt.</p>
  <p>${site.name}, ${this_year}. All weights in grams, all spoons level, all ovens liars.</p>
  <p><a href="${feed_url}">New recipes in your feed reader</a></p>
</footer>
</%block>
