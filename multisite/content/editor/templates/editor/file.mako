<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="title">${media.name}</%block>
<p><a href="${path('editor_media')}">${t("All files")}</a></p>
% if thumbnail:
<p><img class="large" src="${thumbnail}" alt="${media.alt}"></p>
% endif
<p>${f"{media.width} × {media.height} · " if media.width is not None else ""}${megabytes} MB · ${when(media.uploaded)}</p>
<p class="label">${t("For the text of an entry")}</p>
<pre tabindex="0">${markdown}</pre>
% if media.width is not None:
<h2>${t("Description")}</h2>
<form method="post" action="${path('editor_file', digest=media.digest)}">
  ${parent.csrf()}
  ${parent.alt_fields(media.alt, media.decorative)}
  <p><button type="submit" name="action" value="describe">${t("Save")}</button>
  <span class="hint">${t("Texts in which the picture is already keep their own description.")}</span></p>
</form>
% endif
<h2>${t("Where it is used")}</h2>
% if entries:
<ul>
% for entry in entries:
  <li><a href="${path('editor_entry', id=entry.id)}">${entry.title}</a></li>
% endfor
</ul>
% endif
% if others > 0:
<p>${t("In {count} other or earlier texts.", count=others)}</p>
% elif not entries:
<p>${t("In no text.")}</p>
% endif
% if user.role != "author":
<h2>${t("Remove")}</h2>
<form method="post" action="${path('editor_file', digest=media.digest)}">
  ${parent.csrf()}
% if entries or others > 0:
  <p class="check"><input type="checkbox" id="sure" name="sure" value="1"> <label for="sure">${t("Yes, remove it, although texts show it.")}</label></p>
% endif
  <p><button type="submit" name="action" value="remove" class="quiet">${t("Remove this file")}</button></p>
</form>
% endif
