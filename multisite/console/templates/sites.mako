<%inherit file="frame.mako"/>
<%block name="title">${t("Sites")}</%block>
<%block name="actions">
% if may("run"):
<p class="actions"><a class="button quiet" href="${path('import')}">${t("Import a site")}</a>
<a class="button" href="${path('add_site')}">${t("Add a site")}</a></p>
% endif
</%block>
<div class="over">
<ul class="counts" aria-label="${t('By status')}">
  <li><a href="${link(status='')}"${' aria-current="true"' if not status else '' | n}>${t("All")} <b>${count(sum(counts.values()))}</b></a></li>
% for each in statuses:
% if counts.get(each):
  <li><a href="${link(status=each)}"${' aria-current="true"' if status == each else '' | n}>${t(statuses[each])} <b>${count(counts[each])}</b></a></li>
% endif
% endfor
</ul>
% if page.sites and may("run"):
<a href="${path('bulk', _query={'all': '1', **filtered})}">${t("Change all that this list finds") if filtered else t("Change all sites")}</a>
% endif
</div>
<form method="get" action="${path('sites')}" class="filters" role="search">
  <input type="hidden" name="status" value="${status}">
  <p class="field wide"><label for="q">${t("Search names and domains")}</label><input id="q" name="q" type="search" value="${search}" autocapitalize="none" spellcheck="false"></p>
  <details class="field more-filters"${' open' if theme or order != "domain" else '' | n}>
  <summary class="button quiet">${t("More filters")}</summary>
  <div class="filters">
  <p class="field"><label for="theme">${t("Theme")}</label>
  <select id="theme" name="theme">
    ${parent.option("", t("All"), theme)}
    ${parent.option(no_theme, t("Without a theme"), theme)}
% for each in themes:
    ${parent.option(each, each, theme)}
% endfor
  </select></p>
  <p class="field"><label for="order">${t("Sort")}</label>
  <select id="order" name="order">
% for each, text in orders.items():
    ${parent.option(each, t(text), order)}
% endfor
  </select></p>
  <p class="field"><button type="submit" class="quiet">${t("Filter")}</button></p>
  </div>
  </details>
</form>
% if page.sites:
<% has_themes = any(each.theme for each in page.sites) %>\
<div class="card flush">
<table class="list sites">
  <thead><tr>
    <th scope="col">\
% if may("run"):
<input type="checkbox" hidden data-select-all aria-label="${t('Select all sites of this page')}">\
% endif
${t("Site")}</th><th scope="col">${t("Status")}</th>
% if has_themes:
    <th scope="col">${t("Theme")}</th>
% endif
    <th scope="col" class="number">${t("Rows")}</th><th scope="col" class="number">${t("Files")}</th>
    <th scope="col">${t("Last change")}</th>
% if lines:
    <th scope="col" class="number">${t("Requests, 24 h")}</th><th scope="col" class="number">${t("Errors")}</th>
% endif
  </tr></thead>
  <tbody>
% for each in page.sites:
  <tr>
    <th scope="row">\
% if may("run"):
<input type="checkbox" form="selection" name="id" value="${each.id}" aria-label="${t('Select {site}', site=each.domain)}">\
% endif
<a href="${path('site', id=each.id)}"><span class="initial" aria-hidden="true">${each.name[:1].upper()}</span><span class="names"><b title="${each.name}">${each.name}</b><span class="domain"><small>${each.domain}</small>\
% if each.domains > 1:
 <span class="more">+${each.domains - 1}<span class="unseen"> ${t("further domains")}</span></span>\
% endif
</span></span></a></th>
    <td>${parent.pill(each.status)}</td>
% if has_themes:
    <td data-label="${t('Theme')}"${'' if each.theme else ' class="none"' | n}>${each.theme or "–"}</td>
% endif
    <td data-label="${t('Rows')}" class="number">${"–" if each.rows is None else count(each.rows)}</td>
    <td data-label="${t('Files')}" class="number">${"–" if each.bytes is None else size(each.bytes)}</td>
    <td class="day" data-label="${t('Last change')}">${"–" if each.changed is None else when(each.changed, "date")}</td>
% if lines:
<% line = lines[each.id] %>\
    <td class="number traffic-line" data-label="${t('Requests, 24 h')}"><svg viewBox="0 0 96 24" width="96" height="24" aria-hidden="true"><polyline points="${line.points}"/></svg> <span>${count(line.requests)}</span></td>
    <td class="number ${'many' if line.has_many_errors else 'few' if line.errors else 'none'}" data-label="${t('Errors')}">${count(line.errors) if line.errors else "–"}</td>
% endif
  </tr>
% endfor
  </tbody>
</table>
</div>
% if may("run"):
<form method="get" action="${path('bulk')}" id="selection" class="bulk-bar" data-one="${t('1 site selected')}" data-many="${t('{number} sites selected', number='{number}')}">
  <output></output>
  <button type="submit">${t("Change the selected sites")}</button>
  <button type="reset" class="quiet" aria-label="${t('Clear the selection')}">${t("Clear")}</button>
</form>
<script src="${select_path}" defer></script>
% endif
<p class="hint after">\
% if measured is None:
${t("Rows and files have not been measured yet: multisite work does it once an hour, multisite measure-sites at once.")}\
% else:
${t("Rows, files and last changes were measured at {when}.", when=when(measured))}\
% endif
</p>
% else:
% if search or status or theme:
${parent.empty(t("There are no such sites."), path("sites"), t("Show all sites"))}
% else:
${parent.empty(t("There are no sites yet."), path("add_site") if may("run") else None, t("Add a site"))}
% endif
% endif
% if search and not is_inside:
<p class="hint after">${t("The search finds beginnings of words.")} <a href="${link(inside='1')}">${t("Search inside words too")}</a></p>
% endif
% if page.before or page.after:
<nav class="pages" aria-label="${t('Pages')}">
% if page.before:
<a class="button quiet" rel="prev" href="${link(before=page.before)}">← ${t("Previous")}</a>
% endif
% if page.after:
<a class="button quiet" rel="next" href="${link(after=page.after)}">${t("Next")} →</a>
% endif
</nav>
% endif
