<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Theme")}</%block>
<p><a href="${path('editor_settings')}">${t("Back to the settings")}</a></p>
<p>${t("A preview link shows the whole site in a theme, and changes nothing for others.")}</p>
<ul class="themes">
% for each in themes:
  <li>
% if each.has_picture:
    <img src="${path('editor_theme_picture', theme=each.name)}" alt="" width="640" height="400" loading="lazy">
% endif
    <h2>${each.label}${f" ({each.name})" if each.name != each.label else ""}</h2>
% if each.hidden:
    <details>
      <summary>${t("Files of the site that hide those of the theme: {count}", count=len(each.hidden))}</summary>
      <p>${t("Pages that use them look as they do now. Whoever operates the site can rename them.")}</p>
      <ul>
% for file in each.hidden[:20]:
        <li><code>${file}</code></li>
% endfor
% if len(each.hidden) > 20:
        <li>…</li>
% endif
      </ul>
    </details>
% endif
    ${buttons(each.name, each.label)}
  </li>
% endfor
  <li>
    <h2>${t("Without a theme")}</h2>
    <p>${t("The site has its own templates and the shared ones.")}</p>
    ${buttons("", t("Without a theme"))}
  </li>
</ul>

<%def name="buttons(name, label)">
% if name == (current or ""):
<p><span class="badge">${t("In use")}</span></p>
% else:
<form method="post" action="${path('editor_theme')}" class="actions">
  ${parent.csrf()}
  <input type="hidden" name="theme" value="${name}">
  <button type="submit" name="action" value="use">${t("Use it")}<span class="unseen">: ${label}</span></button>
  <button type="submit" name="action" value="preview" class="quiet">${t("Make a preview link")}<span class="unseen">: ${label}</span></button>
</form>
% endif
</%def>
