<%inherit file="site_frame.mako"/>
<%def name="tab()">${t("Settings")}</%def>
<% may_change = may("run") and is_ready %>
<form method="post" action="${path('settings', id=site.id)}" class="card">
  ${parent.csrf()}
% for field in form:
<% own = sources.get(field.name) %>
  <p class="field${' check' if field.type == 'BooleanField' else ''}">
% if field.type == "BooleanField":
    ${field()} <label for="${field.id}">${field.label.text}</label>
% else:
    <label for="${field.id}">${field.label.text}</label>
% if is_secret(field.name) and not may("run"):
    <input id="${field.id}" value="${HIDDEN}" aria-describedby="${field.id}-hint" disabled>
% else:
    ${field(**{"aria-describedby": field.id + "-hint", **({"aria-invalid": "true"} if field.errors else {})})}
% endif
% endif
% for fault in field.errors:
    <span class="fault">${fault}</span>
% endfor
    <span class="hint" id="${field.id}-hint">\
% if field.description:
${field.description} \
% endif
<code>${field.name}</code>
% if own is not None and own.source == "site":
 · ${t("set for this site")}
% elif own is not None and own.source == "ini":
 · ${t("from the ini file")}
% elif own is not None:
 · ${t("default")}
% endif
    </span>
  </p>
% endfor
% if may_change:
  <p class="save-bar"><button type="submit">${t("Save the settings")}</button></p>
% endif
</form>
