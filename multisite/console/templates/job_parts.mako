## What the list of jobs and the page of a job share.
<%def name="outcome(job)"><% t = context["t"] %>\
% if job.error:
<span class="fault">${job.error}</span>\
% elif job.kind == "bulk" and job.result and job.has_ended:
${t("{number} sites, {failed} failed", number=len(job.result["sites"]), failed=job.result["failed"])}\
% elif job.result and job.has_ended and "findings" in job.result:
${t("{number} findings, {faults} faults", number=job.result["findings"], faults=job.result["faults"])}\
% elif job.result and job.has_ended and "measured" in job.result:
${t("{number} sites", number=job.result["measured"])}\
% elif job.result and job.has_ended:
${job.result.get("archive") or job.result.get("site") or "–"}\
% elif job.cancel and not job.has_ended:
${t("Ends at its next step.")}\
% else:
${job.progress or "–"}\
% endif
</%def>
