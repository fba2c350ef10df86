<%inherit file="site_frame.mako"/>
<%namespace name="plots" file="plot_parts.mako"/>
<%def name="tab()">${t("Traffic")}</%def>
<% requests = sum(each.requests for each in spans) %>\
<% failed = sum(each.errors for each in spans) %>\
% if not is_counted:
<p class="message">${t("Requests are not counted, since multisite.traffic is not set.")}</p>
% endif
<ul class="counts" aria-label="${t('Period')}">
% for each, text in periods.items():
  <li><a href="${path('traffic', id=site.id, _query={'period': each})}"${' aria-current="true"' if each == period else '' | n}>${t(text)}</a></li>
% endfor
</ul>
<section class="card" aria-labelledby="plot">
  <h2 id="plot">${counted("requests", requests)}, ${counted("errors", failed)}</h2>
  ${plots.plot(spans, bars, size, label)}
  <details>
    <summary>${t("The same numbers as a table")}</summary>
    <table class="list">
      <thead><tr>
        <th scope="col">${t("From")} (UTC)</th><th scope="col" class="number">${t("Requests")}</th><th scope="col" class="number">${t("Errors")}</th>
        <th scope="col" class="number">${t("Milliseconds each")}</th><th scope="col" class="number">kB</th>
      </tr></thead>
      <tbody>
% for each in spans:
      <tr>
        <th scope="row">${label(each.start)}</th>
        <td data-label="${t('Requests')}" class="number">${each.requests}</td>
        <td data-label="${t('Errors')}" class="number">${each.errors}</td>
        <td data-label="${t('Milliseconds each')}" class="number">${round(each.seconds / each.requests * 1000) if each.requests else "–"}</td>
        <td data-label="kB" class="number">${round(each.bytes / 1000)}</td>
      </tr>
% endfor
      </tbody>
    </table>
  </details>
</section>
<section class="card" aria-labelledby="errors">
  <h2 id="errors">${t("Last errors")}</h2>
% if errors:
  <ul class="plain">
% for each in errors:
    <li><time datetime="${each.at.isoformat(timespec="seconds")}">${when(each.at)}</time> · ${each.error} · ${each.view}${f" · {each.request_id}" if each.request_id else ""}</li>
% endfor
  </ul>
% else:
  <p class="empty">${t("There are none.")}</p>
% endif
</section>
