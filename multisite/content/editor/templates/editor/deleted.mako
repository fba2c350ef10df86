<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Deleted entries")}</%block>
<p><a href="${path('editor_home')}">${t("Entries")}</a></p>
% if found:
<ul class="rows">
% for each in found:
  <li>
    <span>${each.title}<br><small>${t("Deleted {when}", when=when(each.created))}</small></span>
    <form method="post" action="${path('editor_deleted')}">
      ${parent.csrf()}
      <input type="hidden" name="revision" value="${each.id}">
      <button type="submit" class="quiet">${t("Bring back")}<span class="unseen"> ${each.title}</span></button>
    </form>
  </li>
% endfor
</ul>
% else:
<p>${t("There are no entries here.")}</p>
% endif
