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
  <li class="tile ${'bad' if health.pending else 'good'}"><b>${len(health.pending) or t("None")}</b> <span>${t("pending migrations")}</span></li>
% if health.last_check is None:
  <li class="tile"><b>–</b> <span>${t("no check yet")}</span></li>
% else:
  <li class="tile ${'bad' if faults else 'good'}"><b>${faults or t("None")}</b> <span>${t("faults in the last check")}</span></li>
% endif
  <li class="tile"><b>${len(health.processes) or "–"}</b> <span>${t("processes")}</span></li>
  <li class="tile"><b>${len(health.errors) or t("None")}</b> <span>${t("last errors")}</span></li>
</ul>
% if health.pending:
<p class="message error">${t("The database does not have these revisions of the tables of multisite yet. Run multisite migrate:")} ${"; ".join(health.pending)}</p>
% endif
% if not is_counted:
<p class="message">${t("Servers do not report, and neither requests nor errors are counted, since multisite.traffic is not set.")}</p>
% endif
<section class="card" aria-labelledby="check">
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
</section>
<section class="card" aria-labelledby="processes">
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
      <td data-label="${t('Directory')}"><span class="pill ${'active' if each.directory_version == health.directory_version else 'maintenance'}">${each.directory_version}</span></td>
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
</section>
<div class="cards">
% for id, title, lines in (("slow-sites", t("Slowest sites, today and yesterday"), health.slow_sites), ("slow-views", t("Slowest views of the last day"), health.slow_views)):
<section class="card" aria-labelledby="${id}">
  <h2 id="${id}">${title}</h2>
% if lines:
  <ol class="plain measures">
% for each in lines:
    <li><span>\
% if each.site_id is None:
${each.name}\
% else:
<a href="${path('traffic', id=each.site_id)}">${each.name}</a>\
% endif
</span> <small>${t("{milliseconds} ms, {requests} requests", milliseconds=round(each.seconds_each * 1000), requests=each.requests)}</small></li>
% endfor
  </ol>
% else:
  <p class="empty">${t("There are none.")}</p>
% endif
</section>
% endfor
<section class="card" aria-labelledby="versions">
  <h2 id="versions">${t("Versions of this process")}</h2>
  <dl>
% for name, version in health.versions.items():
    <dt>${name}</dt><dd>${version}</dd>
% endfor
  </dl>
</section>
</div>
<section class="card" aria-labelledby="errors">
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
</section>
% endif
