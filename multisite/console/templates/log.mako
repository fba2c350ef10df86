<%inherit file="frame.mako"/>
<%! few = 3 %>
<%block name="title">${t("Log")}</%block>
<%block name="actions"><a class="button quiet" href="${as_csv}">${t("Export as CSV")}</a></%block>
<form method="get" action="${path('log')}" class="filters" role="search">
  <p class="field wide"><label for="site">${t("Site")}</label><input id="site" name="site" value="${chosen.get('site', '')}" autocapitalize="none" spellcheck="false"></p>
  <details class="field more-filters"${' open' if chosen.keys() - {"site"} else '' | n}>
  <summary class="button quiet">${t("More filters")}</summary>
  <div class="filters">
  <p class="field"><label for="who">${t("Who")}</label><input id="who" name="who" value="${chosen.get('who', '')}" autocapitalize="none" spellcheck="false"></p>
  <p class="field"><label for="what">${t("Action")}</label><input id="what" name="what" value="${chosen.get('what', '')}" autocapitalize="none" spellcheck="false"></p>
  <p class="field"><label for="since">${t("From")}</label><input id="since" name="since" type="date" value="${chosen.get('since', '')}"></p>
  <p class="field"><label for="until">${t("To")}</label><input id="until" name="until" type="date" value="${chosen.get('until', '')}"></p>
  <p class="field"><button type="submit" class="quiet">${t("Filter")}</button></p>
  </div>
  </details>
</form>
% if days:
<div class="card flush">
<table class="list log">
  <thead><tr>
    <th scope="col">${t("Time")} (UTC)</th><th scope="col">${t("Who")}</th><th scope="col">${t("Action")}</th>
    <th scope="col">${t("Site")}</th><th scope="col">${t("Change")}</th>
  </tr></thead>
% for entries in days:
  <tbody>
  <tr class="group"><th colspan="5" scope="rowgroup">${when(entries[0].at, "date")}</th></tr>
% for each in entries:
  <tr>
    <td class="day"><time datetime="${each.at.isoformat(timespec="seconds")}" title="${each.at.isoformat(timespec="seconds")}">${when(each.at, "clock")}</time></td>
    <td class="who" data-label="${t('Who')}">${each.who}\
% if each.address:
 <small>${each.address}</small>\
% endif
</td>
    <td class="what" data-label="${t('Action')}">${each.what}</td>
    <td class="host${'' if each.site else ' none'}" data-label="${t('Site')}">\
% if each.site_id is None or each.what == "remove-site":
${each.site or "–"}\
% else:
<a href="${path('site', id=each.site_id)}">${each.site}</a>\
% endif
</td>
    <td class="change" data-label="${t('Change')}">
<% lines = changes(each) %>\
      ${values(lines[:few])}
% if len(lines) > few:
      <details><summary>${t("{number} more", number=len(lines) - few)}</summary>${values(lines[few:])}</details>
% endif
% if each.request_id:
      <small>${t("request {number}", number=each.request_id)}</small>
% endif
    </td>
  </tr>
% endfor
  </tbody>
% endfor
</table>
</div>
% elif not error:
${parent.empty(t("There are no such entries."), path("log") if chosen else None, t("Show all entries"))}
% endif
% if older:
<nav class="pages" aria-label="${t('Pages')}"><a class="button quiet" rel="next" href="${older}">${t("Older")} →</a></nav>
% endif

<%def name="values(lines)">
% for each in lines:
      <span class="value"><span class="key">${each.name}</span>\
% if each.removed or each.added:
% for text in each.removed:
 <del>− ${text}</del>\
% endfor
% for text in each.added:
 <ins>+ ${text}</ins>\
% endfor
</span>
% else:
 ${"" if each.before is None else each.before + " → "}${"–" if each.after is None else each.after}</span>
% endif
% endfor
</%def>
