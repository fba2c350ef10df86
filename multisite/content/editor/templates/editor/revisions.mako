<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Revisions of {title}", title=entry.title)}</%block>
<p><a href="${path('editor_entry', id=entry.id)}">${t("Back to the entry")}</a></p>
% for each in revisions:
<section>
  <h2>${when(each.created)}</h2>
  <p>${each.title}<br><small>${each.login or t("Somebody")} · ${t(parent.attr.KINDS[each.kind])}</small></p>
% if not loop.last:
  <p><a href="${path('editor_changes', id=entry.id, revision=each.id)}">${t("Changes")}<span class="unseen"> ${when(each.created)}</span></a></p>
% endif
  <details><summary>${t("Text")}</summary><pre tabindex="0">${each.body}</pre></details>
% if version_of(each) != current:
  <form method="post" action="${path('editor_revisions', id=entry.id)}">
    ${parent.csrf()}
    <input type="hidden" name="revision" value="${each.id}">
    <p><button type="submit" class="quiet">${t("Restore")}<span class="unseen"> ${when(each.created)}</span></button></p>
  </form>
% else:
  <p><strong>${t("The entry has this text.")}</strong></p>
% endif
</section>
% endfor
