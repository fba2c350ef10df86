<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Entries")}</%block>
<p class="actions"><a class="button" href="${path('editor_new_entry')}">${t("New entry")}</a>
<a href="${path('editor_deleted')}">${t("Deleted entries")}</a></p>
<%include file="multisite.content.editor:templates/editor/undo.mako"/>
<form method="get" action="${path('editor_home')}" class="filters" role="search">
  <p class="field"><label for="q">${t("Search")}</label><input id="q" name="q" type="search" value="${words}"></p>
  <p class="field"><label for="state">${t("State")}</label>
  <select id="state" name="state">
    <option value="">${t("All")}</option>
% for each in states:
    <option value="${each}"${' selected' if each == state else '' | n}>${t(parent.attr.STATES[each])}</option>
% endfor
  </select></p>
  <p class="field"><label for="since">${t("Changed since")}</label><input id="since" name="since" type="date" value="${since}"></p>
  <p><button type="submit" class="quiet">${t("Show")}</button></p>
</form>
% if entries:
<ul class="rows">
% for entry in entries:
  <li>
    <span><a href="${path('editor_entry', id=entry.id)}">${entry.title}</a><br>
    <small>${t("Changed {when}", when=when(entry.updated))}</small></span>
    <span class="badge">${t(parent.attr.STATES[state_of(entry)])}</span>
  </li>
% endfor
</ul>
% else:
<p>${t("There are no entries here.")}</p>
% endif
% if more:
<p><a href="${path('editor_home', _query={'q': words, 'state': state, 'since': since, 'before': more})}">${t("Older entries")}</a></p>
% endif
