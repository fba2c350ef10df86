<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Preview links of {title}", title=entry.title)}</%block>
<p><a href="${path('editor_entry', id=entry.id)}">${t("Back to the entry")}</a></p>
% if link:
<p class="message done" role="status">${t("Whoever has this link sees the entry, without a log-in. The link is shown only now:")}</p>
<pre tabindex="0">${link}</pre>
% endif
<p>${t("A link shows the saved entry, also before it is published. It works for {days} days, until you withdraw it.", days=days)}</p>
<form method="post" action="${path('editor_links', id=entry.id)}">
  ${parent.csrf()}
  <p><button type="submit" name="action" value="make">${t("Make a link")}</button></p>
</form>
% if links:
<h2>${t("Links that work")}</h2>
<ul class="rows">
% for id, expires, login in links:
  <li>
    <span>${t("Until {when}", when=when(expires))}<br><small>${t("made by {login}", login=login)}</small></span>
    <form method="post" action="${path('editor_links', id=entry.id)}">
      ${parent.csrf()}
      <input type="hidden" name="link" value="${id}">
      <button type="submit" name="action" value="withdraw" class="quiet">${t("Withdraw")}<span class="unseen"> ${when(expires)}</span></button>
    </form>
  </li>
% endfor
</ul>
% endif
