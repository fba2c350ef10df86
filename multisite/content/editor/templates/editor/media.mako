<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${t("Media")}</%block>
<p>
  <label for="quota" class="label">${t("{used} of {quota} MB are in use", used=megabytes(used_bytes), quota=megabytes(quota_bytes))}</label>
  <meter id="quota" min="0" max="${max(quota_bytes, 1)}" value="${used_bytes}"></meter>
</p>
<form method="post" action="${path('editor_media')}" enctype="multipart/form-data">
  ${parent.csrf()}
  <details${' open' if error or not found else '' | n}>
    <summary>${t("Upload a file")}</summary>
    <p class="field"><label for="file">${t("File")}</label><input id="file" name="file" type="file" required></p>
    ${parent.alt_fields()}
    <p><button type="submit">${t("Upload")}</button></p>
  </details>
</form>
<p>
% if unused:
  <a href="${path('editor_media')}">${t("All files")}</a>
% else:
  <a href="${path('editor_media', _query={'unused': 1})}">${t("Files that are not used")}</a>
% endif
</p>
% if found:
<ul class="tiles">
% for media in found:
  <li><a href="${path('editor_file', digest=media.digest)}">
% if thumbnail(media):
    <img src="${thumbnail(media)}" alt="" loading="lazy">
% endif
    <span>${media.name}</span></a>
% if media.width is not None and not media.alt and not media.decorative:
    <small>${t("without a description")}</small>
% endif
  </li>
% endfor
</ul>
% elif not error:
<p>${t("There are no files here.")}</p>
% endif
% if more:
<p><a href="${path('editor_media', _query={'before': more})}">${t("Older files")}</a></p>
% endif
