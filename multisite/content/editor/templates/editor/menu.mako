<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Menu")}</%block>
<datalist id="targets">
% for each in targets:
  <option value="${each}"></option>
% endfor
</datalist>
% if items:
<ol class="rows">
% for item, target in items:
  <li${' class="below"' if item.parent_id else '' | n}>
    <form method="post" action="${path('editor_menu')}" class="filters">
      ${parent.csrf()}
      <input type="hidden" name="item" value="${item.id}">
      <p class="field"><label for="label-${item.id}">${t("Text of the link")}</label>
      <input id="label-${item.id}" name="label" value="${item.label}" maxlength="300" required></p>
      <p class="field"><label for="target-${item.id}">${t("Leads to")}</label>
      <input id="target-${item.id}" name="target" value="${target}" list="targets" required></p>
      <p class="actions">
% for action, text_of in actions.items():
        <button type="submit" name="action" value="${action}" class="quiet">${t(text_of)}<span class="unseen"> ${item.label}</span></button>
% endfor
      </p>
    </form>
  </li>
% endfor
</ol>
<form method="post" action="${path('editor_menu')}">
  ${parent.csrf()}
  <p><button type="submit" name="action" value="default" class="quiet">${t("Remove all, and use the default menu")}</button></p>
</form>
% else:
<p>${t("The site has the default menu: its home page, archive and search. The first link that you add replaces it.")}</p>
% endif
<h2>${t("Add a link")}</h2>
<form method="post" action="${path('editor_menu')}">
  ${parent.csrf()}
  <p class="field"><label for="label">${t("Text of the link")}</label>
  <input id="label" name="label" value="${sent.get('label', '')}" maxlength="300" required></p>
  <p class="field"><label for="target">${t("Leads to")}</label>
  <input id="target" name="target" value="${sent.get('target', '')}" list="targets" required aria-describedby="target-hint">
  <span class="hint" id="target-hint">${t("A path such as /about/, or an address with https://.")}</span></p>
  <p class="field"><label for="parent">${t("Below")}</label>
  <select id="parent" name="parent">
    <option value="">${t("Nothing: at the top")}</option>
% for each in tops:
    <option value="${each.id}"${' selected' if sent.get('parent') == str(each.id) else '' | n}>${each.label}</option>
% endfor
  </select></p>
  <p class="actions"><button type="submit" name="action" value="add">${t("Add")}</button></p>
</form>
