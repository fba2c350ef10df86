## The head and the tabs of every page of a site.
<%inherit file="frame.mako"/>
<%block name="title">${self.tab()} – ${site.name}</%block>
<%block name="top">
<p class="crumb"><a href="${path('sites')}">${t("Sites")}</a></p>
<div class="top">
  <div><h1>${site.name}</h1><p class="sub"><a href="${site_url}">${site.domain}</a> ${self.pill(record.status)}</p></div>
% if here == "site" and is_ready:
  <p class="actions beside">
    <a class="button quiet" href="${site_url}">${t("Open the site")}</a>
% if may("run"):
    <a class="button quiet" href="${path('state', id=site.id)}">${t("Begin maintenance") if record.status == "active" else t("Bring it back online")}</a>
% endif
  </p>
% endif
</div>
<nav class="tabs" aria-label="${t('Site')}">
  <ul>
% for route, text, role in tabs:
% if may(role):
    <li><a href="${path(route, id=site.id)}"${' aria-current="page"' if here == route else '' | n}>${t(text)}</a></li>
% endif
% endfor
  </ul>
</nav>
</%block>
% if record.status == "pending":
<div class="message">
<p>${t("This site is not complete: adding it was interrupted.")}</p>
${parent.add_steps(1)}
% if may("run"):
<form method="post" action="${path('add_site')}">
  ${parent.csrf()}
  <input type="hidden" name="host" value="${site.domain}">
  <input type="hidden" name="name" value="${site.name}">
  <input type="hidden" name="aliases" value="${' '.join(each.host for each in record.domains if each.kind == 'alias')}">
  <input type="hidden" name="locale" value="${site.locale}">
  <input type="hidden" name="timezone" value="${site.timezone}">
  <input type="hidden" name="theme" value="${site.theme or ''}">
  <button type="submit">${t("Complete it")}</button>
</form>
% endif
</div>
% elif record.status == "removing":
<p class="message">${t("This site is being removed. Remove it again if that was interrupted.")}</p>
% endif
${next.body()}
<%def name="csrf()">${parent.csrf()}</%def>
<%def name="pill(status)">${parent.pill(status)}</%def>
<%def name="option(value, text, chosen)">${parent.option(value, text, chosen)}</%def>
<%def name="given_link(text, link)">${parent.given_link(text, link)}</%def>
<%def name="tab()"></%def>
