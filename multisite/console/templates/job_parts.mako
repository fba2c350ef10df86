## What the list of jobs and the page of a job share.
<%def name="state(job)">\
<% failed = job.result["failed"] if job.kind == "bulk" and job.status == "done" and job.result else 0 %>\
% if failed:
<span class="pill job-failed">${t("{failed} of {number} failed", failed=failed, number=len(job.result["sites"]))}</span>\
% else:
<span class="pill job-${job.status}">${t(job_statuses[job.status])}</span>\
% endif
</%def>
<%def name="outcome(job)">\
% if job.error:
<span class="fault">${job.error}</span>\
% elif job.kind == "bulk" and job.result and job.has_ended:
${counted("sites", len(job.result["sites"]))}, ${t("{number} failed", number=job.result["failed"])}\
% elif job.result and job.has_ended and "findings" in job.result:
${t("Findings: {number}, faults: {faults}", number=job.result["findings"], faults=job.result["faults"])}\
% elif job.result and job.has_ended and "measured" in job.result:
${counted("sites", job.result["measured"])}\
% elif job.result and job.has_ended:
${job.result.get("archive") or job.result.get("site") or "–"}\
% elif job.cancel and not job.has_ended:
${t("Ends at its next step.")}\
% else:
${job.progress or "–"}\
% endif
</%def>
