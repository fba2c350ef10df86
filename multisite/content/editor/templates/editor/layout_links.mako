<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Preview links of the layout")}</%block>
<p><a href="${path('editor_settings')}">${t("Back to the settings")}</a></p>
% if link:
<p class="message done" role="status">${t("Whoever has this link sees the site with these settings, without a log-in. Nothing is changed for others. The link is shown only now:")}</p>
<pre tabindex="0">${link}</pre>
% endif
<p>${t("A link shows the whole site with settings that are not saved. It works for {days} days, until you withdraw it.", days=days)}</p>
% if links:
<h2>${t("Links that work")}</h2>
<ul class="rows">
% for each in links:
  <li>
    <span>${t("Until {when}", when=when(each.expires))}<br>
    <small>${str(each.changes) or t("no changes")}${" · " + t("made by {login}", login=each.login) if each.login else ""}</small></span>
    <form method="post" action="${path('editor_layout_links')}">
      ${parent.csrf()}
      <input type="hidden" name="link" value="${each.id}">
      <button type="submit" class="quiet">${t("Withdraw")}<span class="unseen"> ${when(each.expires)}</span></button>
    </form>
  </li>
% endfor
</ul>
% endif
