<%inherit file="frame.mako"/>
<%block name="title">${t("Health")}</%block>
<%block name="actions">
% if may("run"):
<form method="post" action="${path('health')}">
  ${self.csrf()}
  <button type="submit" class="quiet">${t("Check now")}</button>
</form>
% endif
</%block>
% if health is not None:
<ul class="tiles">
  <li class="tile ${'bad' if health.pending else 'good'}"><b>${len(health.pending)}</b> <span>${t("pending migration") if len(health.pending) == 1 else t("pending migrations")}</span></li>
% if health.last_check is None:
  <li class="tile"><b>–</b> <span>${t("no check yet")}</span></li>
% else:
  <li class="tile ${'bad' if faults else 'good'}"><b>${faults}</b> <span>${t("fault in the last check") if faults == 1 else t("faults in the last check")}</span></li>
% endif
  <li class="tile"><b>${len(health.processes)}</b> <span>${t("process") if len(health.processes) == 1 else t("processes")}</span></li>
  <li class="tile"><b>${len(health.errors)}</b> <span>${t("error") if len(health.errors) == 1 else t("errors")}</span></li>
</ul>
% if health.pending:
<p class="message error">${t("The database does not have these revisions of the tables of multisite yet. Run multisite migrate:")} ${"; ".join(health.pending)}</p>
% endif
% if not is_counted:
<p class="message">${t("Servers do not report, and neither requests nor errors are counted, since multisite.traffic is not set.")}</p>
% endif
<%
last = health.last_check
parts = [
    # The id, whether there is something to show, whether that is as wide as the page, and the content.
    ("check", last is not None, last is not None and last.findings, check),
    ("errors", health.errors, health.errors, errors),
    ("processes", health.processes, health.processes, processes),
    ("slow-sites", health.slow_sites, False, slow_sites),
    ("slow-views", health.slow_views, False, slow_views),
    ("versions", True, False, versions),
]
%>\
<div class="cards health">
## Those that have nothing to show come last.
% for id, _, is_wide, content in sorted(parts, key=lambda part: not part[1]):
<section class="card${' wide' if is_wide else ''}" aria-labelledby="${id}">
${content()}
</section>
% endfor
</div>
% endif

<%def name="check()">
  <h2 id="check">${t("Last check")}</h2>
% if health.last_check is None:
  <p class="empty">${t("No check has been kept yet. The button adds a job, which multisite work does; multisite check --keep has the same effect.")}</p>
% else:
<% last = health.last_check %>\
  <p class="hint">${t("{when} by {who}, in {seconds} s", when=when(last.made), who=last.who, seconds=f"{last.seconds:.1f}")}</p>
% if last.findings:
  <ul class="findings">
% for each in last.findings:
    <li><span class="pill finding-${each.severity}">${t(severities.get(each.severity, each.severity))}</span>
    <div><b>${each.subject}</b> <code>${each.kind}</code><br>${each.message}; <span class="hint">${each.remedy}</span></div></li>
% endfor
  </ul>
% if last.number > len(last.findings):
  <p class="hint">${t("The first {maximum} of {number} findings.", maximum=maximum, number=last.number)}</p>
% endif
% else:
  <p>${t("Nothing was found.")}</p>
% endif
% endif
</%def>

<%def name="errors()">
  <h2 id="errors">${t("Last errors")}</h2>
% if health.errors:
  <table class="list inner">
    <thead><tr>
      <th scope="col">${t("Time")}</th><th scope="col">${t("Site")}</th><th scope="col">${t("Error")}</th><th scope="col">${t("Path")}</th><th scope="col">${t("Request")}</th>
    </tr></thead>
    <tbody>
% for site, seen in health.errors:
    <tr>
      <td><time datetime="${seen.at.isoformat(timespec="seconds")}">${when(seen.at)}</time></td>
      <td data-label="${t('Site')}">\
% if site is None:
–\
% else:
<a href="${path('traffic', id=seen.site_id)}">${site}</a>\
% endif
</td>
      <td data-label="${t('Error')}">${seen.error}</td>
      <td data-label="${t('Path')}">${seen.path or "–"} <small>${seen.view}</small></td>
      <td data-label="${t('Request')}"><code>${seen.request_id or "–"}</code></td>
    </tr>
% endfor
    </tbody>
  </table>
% else:
  <p class="empty">${t("There are none.")}</p>
% endif
</%def>

<%def name="processes()">
  <h2 id="processes">${t("Processes")}</h2>
% if health.processes:
  <p class="hint">${t("The directory is at version {version}. A process reads a change with its next request.", version=health.directory_version)}</p>
  <table class="list inner">
    <thead><tr>
      <th scope="col">${t("Machine and process")}</th><th scope="col">${t("Directory")}</th><th scope="col">${t("Last read")}</th>
      <th scope="col">${t("Since")}</th><th scope="col">${t("Last seen")}</th><th scope="col">multisite</th>
    </tr></thead>
    <tbody>
% for each in health.processes:
    <tr>
      <th scope="row">${each.host} <small>${each.pid}${", " + t("does jobs") if each.kind == "worker" else ""}</small></th>
      <td data-label="${t('Directory')}">\
% if each.directory_read:
<span class="pill ${'active' if each.directory_version == health.directory_version else 'maintenance'}">${each.directory_version}</span>\
% else:
–\
% endif
</td>
      <td data-label="${t('Last read')}">${when(each.directory_read) if each.directory_read else "–"}</td>
      <td data-label="${t('Since')}">${when(each.started)}</td>
      <td data-label="${t('Last seen')}">${when(each.seen)}\
% if each.is_silent:
 <span class="fault">${t("silent")}</span>\
% endif
</td>
      <td data-label="multisite">${each.versions.get("multisite", "–")} <small>Python ${each.versions.get("Python", "–")}</small></td>
    </tr>
% endfor
    </tbody>
  </table>
% else:
  <p class="empty">${t("No process has reported within the last hour.")}</p>
% endif
</%def>

<%def name="slow_sites()">
  <h2 id="slow-sites">${t("Slowest sites, today and yesterday")}</h2>
${measures(health.slow_sites)}
</%def>

<%def name="slow_views()">
  <h2 id="slow-views">${t("Slowest views of the last day")}</h2>
${measures(health.slow_views)}
</%def>

<%def name="measures(lines)">
% if lines:
  <ol class="plain measures">
% for each in lines:
    <li><span>\
% if each.site_id is None:
${each.name}\
% else:
<a href="${path('traffic', id=each.site_id)}">${each.name}</a>\
% endif
</span> <small>${t("{number} ms", number=round(each.seconds_each * 1000))}, ${counted("requests", each.requests)}</small></li>
% endfor
  </ol>
% else:
  <p class="empty">${t("There are none.")}</p>
% endif
</%def>

<%def name="versions()">
  <h2 id="versions">${t("Versions of this process")}</h2>
  <dl>
% for name, version in health.versions.items():
    <dt>${name}</dt><dd>${version}</dd>
% endfor
  </dl>
</%def>
