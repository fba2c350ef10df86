<%inherit file="site_frame.mako"/>
<%namespace name="plots" file="plot_parts.mako"/>
<%def name="tab()">${t("Overview")}</%def>
% if record.status == "maintenance":
<p class="message">${t("In maintenance")}${f": {message}" if message else ""}
% if until:
<br><small>${t("Announced until {when}", when=when(until))}</small>
% endif
</p>
% endif
<ul class="tiles">
${tile(t("Requests of the last day"), None if requests is None else count(requests), t("not counted"), "traffic")}
${tile(t("Errors of the last day"), None if errors is None else count(errors), t("not counted"), "traffic", is_bad=bool(errors))}
${tile(t("Rows"), None if rows is None else count(rows), t("not measured"))}
${tile(t("Files"), files, t("not measured"))}
</ul>
% if spans:
<section class="card" aria-labelledby="plot">
  <h2 id="plot">${t("Traffic of the last day")}: ${counted("requests", requests)}, ${counted("errors", errors)}</h2>
  ${plots.plot(spans, bars, size, label)}
  <p><a href="${path('traffic', id=site.id, _query={'period': 'week'})}">${t("Week and month, and the numbers")}</a></p>
</section>
% endif
<div class="cards">
  <section class="card" aria-labelledby="about">
    <h2 id="about">${t("About")}</h2>
    <dl>
      <dt>${t("Added")}</dt><dd>${when(record.created)}</dd>
      <dt>${t("Language")}</dt><dd>${site.locale}</dd>
      <dt>${t("Time zone")}</dt><dd>${site.timezone}</dd>
      <dt>${t("Theme")}</dt><dd>${site.theme or "–"}</dd>
% if site.copy_of:
      <dt>${t("Copy of")}</dt><dd>${site.copy_of}</dd>
% endif
      <dt>${t("Folder")}</dt><dd><code>${folder}</code>${"" if has_folder else " – " + t("missing")}</dd>
      <dt>${t("Number")}</dt><dd>${site.id}</dd>
    </dl>
    <p class="apart"><a href="${path('log', _query={'site': site.domain})}">${t("Log of this site")}</a></p>
  </section>
  <section class="card" aria-labelledby="its-domains">
    <h2 id="its-domains">${t("Domains")}</h2>
    <ul class="plain">
% for each in record.domains[:8]:
      <li>${each.host} <small>${t("canonical") if each.kind == "canonical" else t("redirect") if each.kind == "redirect" else t("alias")}</small></li>
% endfor
    </ul>
% if len(record.domains) > 8:
    <p><a href="${path('domains', id=site.id)}">${t("All {number} domains", number=len(record.domains))}</a></p>
% endif
  </section>
  <section class="card" aria-labelledby="its-settings">
    <h2 id="its-settings">${t("Own settings")}</h2>
% if own_settings:
    <dl>
% for each in own_settings:
      <dt>${each.name}</dt><dd>${shown_text(each.name, each.text)}${f" – {each.fault}" if each.fault else ""}</dd>
% endfor
    </dl>
% else:
    <p class="empty">${t("All settings have their defaults.")}</p>
% endif
  </section>
</div>

<%def name="tile(name, value, missing, route=None, is_bad=False)">\
<li class="tile${' bad' if is_bad else ''}"><b>${"–" if value is None else value}</b> \
% if route:
<a href="${path(route, id=site.id)}">${name}</a>\
% else:
<span>${name}</span>\
% endif
% if value is None:
 <small>${missing}</small>\
% endif
</li>
</%def>
