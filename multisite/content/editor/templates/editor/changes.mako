<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Changes of {when}", when=when(revision.created))}</%block>
<p><a href="${path('editor_revisions', id=entry.id)}">${t("Back to the revisions")}</a></p>
<p>${revision.title}<br><small>${revision.login or t("Somebody")} · ${t(parent.attr.KINDS[revision.kind])}</small></p>
% if before is None:
<p>${t("No earlier revision is kept.")}</p>
% elif not fields:
<p>${t("The text is the same as before.")}</p>
% else:
<p>${t("Compared with the revision of {when}.", when=when(before.created))}</p>
% endif
% for name, lines in fields.items():
<h2>${t(name)}</h2>
<div class="changes" tabindex="0" role="group" aria-label="${t(name)}">
% for line in lines:
${line_of(line)}\
% endfor
</div>
% endfor

<%def name="line_of(line)">
% if line.kind == "left out":
<p class="hint">${t("{count} lines that are the same", count=line.count)}</p>
% elif line.kind == "same":
<p class="same">${line.words[0][0]}</p>
% elif line.kind == "removed":
<p class="removed"><span class="unseen">${t("Removed:")} </span>${words_of(line, "del")}</p>
% else:
<p class="added"><span class="unseen">${t("Added:")} </span>${words_of(line, "ins")}</p>
% endif
</%def>

<%def name="words_of(line, tag)">\
% for text, is_changed in line.words:
% if is_changed:
<${tag}>${text}</${tag}>\
% else:
${text}\
% endif
% endfor
</%def>
