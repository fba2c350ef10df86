## A complete document without base.mako: one column for the garden, one for the entries.
<%def name="season(tag, label)"><li><a href="${tag_url(tag)}">
<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false">${caller.body()}</svg>${label}</a></li></%def>\
<!doctype html>
<html lang="${language}" dir="${direction}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${f"{title} — {site.name}" if title else site.name}</title>
  <meta name="theme-color" content="#f6f3ea" media="(prefers-color-scheme: light)">
  <meta name="theme-color" content="#171d18" media="(prefers-color-scheme: dark)">
  <link rel="icon" href="${static_url("img/leaf.svg")}" type="image/svg+xml">
  <link rel="stylesheet" href="${static_url("style.css")}">
  <%include file="head.mako"/>
  <%block name="head"></%block>
</head>
<body class="page-${page_kind}">
<a class="skip-link" href="#content">${text("skip_to_content")}</a>
<div class="plot">
  <header class="side">
    <div class="side-inner">
      <p class="site-name"><a href="${home_url}">${site.name}</a></p>
      <p class="motto">A journal of a third of an acre of clay, four hens and no hurry.</p>
      <nav class="site-nav" aria-label="${text("main_menu")}">
        <ul>
          % for item in nav:
          % for link in (item, *item.children):
          % if link.current:
          <li><a href="${link.url}" aria-current="page">${link.label}</a></li>
          % else:
          <li><a href="${link.url}">${link.label}</a></li>
          % endif
          % endfor
          % endfor
        </ul>
      </nav>
      <nav class="seasons" aria-label="By season">
        <p class="side-title" aria-hidden="true">By season</p>
        <ul>
          <%self:season tag="spring" label="Spring"><path d="M12 21v-9M12 13C8 13 5 11 5 6c5 0 7 3 7 7zM12 11c0-4 2-7 7-7 0 5-3 7-7 7z"/></%self:season>
          <%self:season tag="summer" label="Summer"><circle cx="12" cy="12" r="4"/><path d="M12 3v2.5M12 18.5V21M3 12h2.5M18.5 12H21M5.6 5.6l1.8 1.8M16.6 16.6l1.8 1.8M5.6 18.4l1.8-1.8M16.6 7.4l1.8-1.8"/></%self:season>
          <%self:season tag="autumn" label="Autumn"><path d="M5 19C4 10 9 4 20 4c0 11-6 16-15 15zM5 19c3-5 6-8 10-10"/></%self:season>
          <%self:season tag="winter" label="Winter"><path d="M12 3v18M4.2 7.5l15.6 9M4.2 16.5l15.6-9M9.5 4.5 12 7l2.5-2.5M9.5 19.5 12 17l2.5 2.5"/></%self:season>
        </ul>
      </nav>
    </div>
  </header>
  <main id="content" tabindex="-1">
    ${self.body()}
  </main>
  <footer class="site-footer">
    <p>${site.name}, ${this_year}. Written outdoors, typed indoors.</p>
    <p><a href="${feed_url}">Follow with a feed reader</a></p>
  </footer>
</div>
</body>
</html>
