## The layout of the theme Shopfront. It fills the blocks of the shared base.mako.
<%inherit file="parent:layout.mako"/>
<%def name="picture(name)">${request.script_name}${site.settings[name]}</%def>
<%block name="body_class"> corners-${site.settings["theme.corners"]}</%block>
<%block name="brand">
<p class="site-name"><a href="${home_url}" rel="home">\
% if site.settings["theme.logo"]:
<img class="logo" src="${self.picture('theme.logo')}" alt=""> \
% endif
${site.name}</a></p>
</%block>
<%block name="intro">
% if page_kind == "home" and not canonical_url.count("?"):
<div class="window">
% if site.settings["theme.window"]:
  <img src="${self.picture('theme.window')}" alt="">
% else:
  <img src="${static_url('img/window.svg')}" alt="" width="1600" height="640">
% endif
% if site.settings["theme.welcome"]:
  <p class="welcome">${site.settings["theme.welcome"]}</p>
% endif
</div>
% endif
</%block>
<%block name="footer">
<footer class="site-footer">
% if site.settings["theme.address"]:
  <address>${site.settings["theme.address"]}</address>
% endif
  <p>© ${this_year} ${site.name} · <a href="${feed_url}">${text("feed")}</a></p>
</footer>
</%block>
${next.body()}
