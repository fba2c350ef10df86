## The layout of the theme Folio. It fills the blocks of the shared base.mako.
<%inherit file="parent:layout.mako"/>
<%def name="picture(name)">${request.script_name}${site.settings[name]}</%def>
<%block name="body_class"> paper-${site.settings["theme.paper"]}</%block>
<%block name="brand">
<p class="site-name"><a href="${home_url}" rel="home">\
% if site.settings["theme.logo"]:
<img class="logo" src="${self.picture('theme.logo')}" alt="${site.name}">\
% else:
${site.name}\
% endif
</a></p>
</%block>
<%block name="intro">
% if page_kind == "home" and not canonical_url.count("?"):
<div class="cover">
% if site.settings["theme.cover"]:
  <img src="${self.picture('theme.cover')}" alt="">
% else:
  <img src="${static_url('img/cover.svg')}" alt="" width="1200" height="360">
% endif
</div>
% endif
</%block>
<%block name="footer">
<footer class="site-footer">
% if site.settings["theme.imprint"]:
  <p class="imprint">${site.settings["theme.imprint"]}</p>
% endif
  <p>© ${this_year} ${site.name} · <a href="${feed_url}">${text("feed")}</a></p>
</footer>
</%block>
${next.body()}
