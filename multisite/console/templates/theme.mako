<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Theme")}</%def>
<% may_change = may("run") and is_ready %>\
% if link:
<div class="card link-once">
  <p>${t("Anyone with this link sees the site in the theme {theme} for a week. Visitors still see the current theme.", theme=shown or t("none"))}</p>
  <p><a class="button" href="${link}">${t("Open the preview")}</a></p>
  <pre tabindex="0">${link}</pre>
</div>
% endif
<ul class="gallery">
% if not site.theme:
${without()}
% endif
% for each in sorted(themes, key=lambda each: each.name != site.theme):
  <li class="card theme${' chosen' if each.name == site.theme else ''}">
% if each.has_picture:
    <img src="${path('theme_picture', name=each.name)}" alt="" width="640" height="400" loading="lazy">
% else:
    <span class="blank" aria-hidden="true">${each.label[:1].upper()}</span>
% endif
    <div>
      <div class="heading"><h2>${each.label} <small>${each.name}</small></h2>\
% if each.name == site.theme:
 <span class="pill active">${t("In use")}</span>\
% endif
</div>
% if each.hidden:
      <details><summary>${counted("hidden", len(each.hidden))}</summary>
      <ul class="plain">
% for file in each.hidden[:20]:
        <li><code>${file}</code></li>
% endfor
      </ul></details>
% endif
      ${buttons(each.name, each.label, each.name == site.theme)}
    </div>
  </li>
% endfor
% if site.theme:
${without()}
% endif
</ul>
% if links:
<section class="card" aria-labelledby="links">
<h2 id="links">${t("Links to previews")}</h2>
<ul class="rows">
% for each in links:
  <li>
    <span>${each.changes or t("No changes")}<br><small>${t("Until {when}, by {who}", when=when(each.expires), who=each.login or t("an operator"))}</small></span>
% if may("run"):
    <form method="post" action="${path('theme', id=site.id)}">
      ${parent.csrf()}
      <input type="hidden" name="link" value="${each.id}">
      <button type="submit" name="action" value="withdraw" class="quiet">${t("Withdraw the link")}<span class="unseen">: ${each.changes}</span></button>
    </form>
% endif
  </li>
% endfor
</ul>
</section>
% endif

<%def name="buttons(name, label, is_used)">
% if may_change and (can_preview or not is_used):
<form method="post" action="${path('theme', id=site.id)}" class="actions">
  ${self.csrf()}
  <input type="hidden" name="theme" value="${name}">
% if can_preview:
  <button type="submit" name="action" value="preview" class="quiet">${t("Preview")}<span class="unseen"> ${label}</span></button>
% endif
% if not is_used:
  <button type="submit" name="action" value="theme" class="quiet">${t("Use it")}<span class="unseen">: ${label}</span></button>
% endif
</form>
% endif
</%def>

<%def name="without()">
  <li class="card theme without${'' if site.theme else ' chosen'}">
    <div>
      <div class="heading"><h2>${t("Without a theme")}</h2>\
% if not site.theme:
 <span class="pill active">${t("In use")}</span>\
% endif
</div>
      <p class="hint">${t("The site has its own templates and the shared ones.")}</p>
      ${buttons("", t("Without a theme"), not site.theme)}
    </div>
  </li>
</%def>
