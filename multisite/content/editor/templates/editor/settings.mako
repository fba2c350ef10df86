<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Settings")}</%block>
<form method="post" action="${path('editor_settings')}">
  ${parent.csrf()}
% for field in form:
  <p class="field${' check' if field.type == 'BooleanField' else ''}">
% if field.type == "BooleanField":
    ${field()} <label for="${field.id}">${field.label.text}</label>
% else:
    <label for="${field.id}">${field.label.text}</label>
<% described = [field.id + "-fault"] * bool(field.errors) + [field.id + "-hint"] * bool(field.description) %>\
    ${field(**({"aria-invalid": "true"} if field.errors else {}), **({"aria-describedby": " ".join(described)} if described else {}))}
% endif
% for fault in field.errors:
    <span class="fault" id="${field.id}-fault">${fault}</span>
% endfor
% if field.description:
    <span class="hint" id="${field.id}-hint">${field.description}</span>
% endif
  </p>
% endfor
% if images:
  <datalist id="images">
% for address, name in images:
    <option value="${address}">${name}</option>
% endfor
  </datalist>
% endif
  <p><button type="submit">${t("Save")}</button>
  <button type="submit" name="action" value="preview" class="quiet">${t("Make a preview link")}</button></p>
</form>
<p><a href="${path('editor_theme')}">${t("Theme")}</a></p>
<p><a href="${path('editor_layout_links')}">${t("Preview links of the layout")}</a></p>
