## Das gemeinsame Dokument mit Nachthimmel; auf der Startseite steht neben den Beiträgen, wann offen ist.
<%inherit file="base.mako"/>

<%block name="styles">
  <link rel="icon" href="${static_url("img/stern.svg")}" type="image/svg+xml">
  <meta name="theme-color" content="#070b18">
  <link rel="stylesheet" href="${static_url("style.css")}">
</%block>

<%def name="brand_line()">
    <p class="site-name"><a href="${home_url}" rel="home">${site.name}</a></p>
</%def>

<%block name="header">
<header class="site-header">
% if page_kind != "home":
    ${brand_line()}
% endif
    <nav class="site-nav" aria-label="${text("main_menu")}">
      <ul>
% for item in nav:
% for link in (item, *item.children):
        <li><a href="${link.url}"${' aria-current="page"' if link.current else "" | n}>${link.label}</a></li>
% endfor
% endfor
        <li><a href="${tag_url("beobachtungsbericht")}">Berichte</a></li>
        <li><a href="${tag_url("planeten")}">Planeten</a></li>
        <li><a href="${tag_url("anleitung")}">Anleitungen</a></li>
      </ul>
    </nav>
## Auf der Startseite steht der Name groß unter dem Menü, damit die Reihenfolge mit der Tastatur die sichtbare ist.
% if page_kind == "home":
    ${brand_line()}
    <p class="place">51° 45′ Nord <span>10° 45′ Ost</span> <span>560 m über dem Meer</span></p>
% endif
</header>
</%block>

<%block name="aside">
% if page_kind == "home":
<aside class="visit" aria-labelledby="besuch">
  <h2 id="besuch">Besuch</h2>
  <dl>
    <dt>Offene Abende</dt>
    <dd>freitags nach Programm, nur bei klarem Himmel</dd>
    <dt>Eintritt</dt>
    <dd>frei</dd>
    <dt>Weg</dt>
    <dd>vom Wanderparkplatz zehn Minuten bergauf; bitte nur rotes Licht</dd>
    <dt>Instrumente</dt>
    <dd>Refraktor 150/2250, Newton 250 und 300 mm, Sonnenteleskop für H-alpha</dd>
  </dl>
</aside>
% endif
</%block>

<%block name="footer">
<footer class="site-footer">
  <p>${site.name}, ${this_year}. Ehrenamtlich betrieben, seit der Himmel noch dunkler war.</p>
  <p><a href="${feed_url}">Neue Beiträge als Feed</a></p>
</footer>
</%block>
