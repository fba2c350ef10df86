<%inherit file="multisite.content.editor:templates/editor/frame.mako"/>
<%block name="head">
% for each in script_paths:
  <script src="${each}" defer></script>
% endfor
</%block>
<%block name="title">${entry.title if entry else t("New page") if form.is_page else t("New entry")}</%block>
% if entry:
<p class="actions">
% if is_public:
  <a href="${entry_url(entry)}">${t("See the page")}</a>
% endif
  <a href="${path('editor_preview', id=entry.id)}">${t("Preview")}</a>
  <a href="${path('editor_links', id=entry.id)}">${t("Preview links")}</a>
  <a href="${path('editor_revisions', id=entry.id)}">${t("Revisions")}</a>
</p>
% endif
% for each in autosaves:
<form method="post" action="${path('editor_autosave')}" class="message actions">
  ${parent.csrf()}
  <input type="hidden" name="key" value="${each.key}">
  <span>${t("Typed {when}, and not saved:", when=when(each.saved))}
  <a href="${path('editor_entry', id=entry.id, _query={'autosave': each.key}) if entry else path('editor_new_entry', _query={'autosave': each.key})}">${title_of(each) or t("Your text")}</a></span>
  <button type="submit" name="action" value="discard" class="quiet">${t("Discard")}<span class="unseen"> ${title_of(each)}</span></button>
</form>
% endfor
% if collision:
<h2>${t("The text that somebody else has saved")}</h2>
<p>${collision.title}</p>
<pre tabindex="0">${collision.body}</pre>
<h2>${t("Your text")}</h2>
<p>${t("Copy the parts that you want to keep, and save: this replaces the text above, which stays among the revisions.")}</p>
% endif
<form method="post" action="${path('editor_entry', id=entry.id) if entry else path('editor_new_entry')}" data-autosave="${path('editor_autosave')}" data-kept="${t('Kept, but not saved.')}" data-lost="${t('This text could not be kept: save it.')}">
  ${parent.csrf()}
  <input type="hidden" name="key" value="${key}">
  <input type="hidden" name="version" value="${version}">
  ${line("title", t("Title"))}
  <div class="field">
    <label for="body">${t("Text, in Markdown")}</label>
    ${toolbar()}
    <textarea id="body" name="body" class="text" spellcheck="true"${described("body") | n}>
${form.texts["body"]}</textarea>
    ${fault("body")}
  </div>
% if form.is_page:
  <p class="field">
    <label for="parent">${t("Below")}</label>
    <select id="parent" name="parent">
% for path_above, name in parents:
      <option value="${path_above}"${' selected' if path_above == form.texts["parent"] else '' | n}>${name}</option>
% endfor
    </select>
  </p>
% else:
  ${line("tags", t("Tags, separated by commas"))}
% endif
  ${line("summary", t("Summary; by default the beginning of the text"))}
  ${line("slug", t("Last part of the address; by default from the title"))}
  ${line("author", t("Author's name on the page, if any"))}
% if not form.is_page:
  ${line("published", t("Date and time, by the clock of the site; by default now"), kind="datetime-local")}
% endif
% if has_media or form.texts["picture"]:
  <p class="field">
    <label for="picture">${t("Picture: above the text, in lists and feeds, and in links to the page, which have the first in the text by default")}</label>
    <select id="picture" name="picture"${described("picture") | n}>
      <option value="">${t("By default")}</option>
% for path_of, name_of in pictures:
      <option value="${path_of}"${' selected' if path_of == form.texts["picture"] else '' | n}>${name_of}</option>
% endfor
    </select>
    ${fault("picture")}
  </p>
% endif
  <p class="hint" id="autosave-status" role="status"></p>
  <p class="actions">
    <button type="submit" name="action" value="save">${t("Save") if is_visible else t("Save as a draft")}</button>
% if is_visible:
    <button type="submit" name="action" value="unpublish" class="quiet">${t("Save, and make it a draft")}</button>
% else:
    <button type="submit" name="action" value="publish">${t("Save and publish")}</button>
% endif
  </p>
% if has_media:
  <details id="pictures" data-upload="${path('editor_media')}" data-failed="${t('The upload has failed. Try again.')}" data-log-in="${t('Your log-in has ended. Log in in another window, and try again.')}" data-inserted="${t('In the text.')}" data-asked="${t('Say what the picture shows, or that it is decorative.')}">
    <summary>${t("Pictures and files")}</summary>
    <p class="hint" id="drop-hint" hidden>${t("Choose files, drag them onto the text, or paste a picture.")}</p>
    <p class="field"><label for="file">${t("File")}</label><input id="file" name="file" type="file"></p>
    <div id="without-script">
    ${parent.alt_fields()}
    <p><button type="submit" name="action" value="upload" class="quiet" formenctype="multipart/form-data" formnovalidate>${t("Upload, and add it to the text")}</button></p>
    </div>
    <ul class="rows" id="uploads" hidden></ul>
    <template id="upload">
      <li>
        <div class="upload">
          <img alt="" hidden> <span class="name"></span> <progress max="1" value="0"></progress>
          <p class="hint" role="status"></p>
          <div class="answer" hidden>
            <p class="field"><label>${t("What does the picture show?")} <input type="text" maxlength="1000" autocomplete="off"></label></p>
            <p class="check"><label><input type="checkbox"> ${t("It is decorative: it shows nothing that the text does not say.")}</label></p>
            <p><button type="button" class="quiet">${t("Add to the text")}<span class="unseen"></span></button></p>
          </div>
        </div>
      </li>
    </template>
  </details>
% endif
  <details id="preview">
    <summary>${t("Preview of what is typed")}</summary>
    <p><button type="submit" class="quiet" formaction="${path('editor_typed')}" formtarget="typed" formnovalidate>${t("Show")}</button></p>
    <iframe name="typed" title="${t('Preview of what is typed')}" sandbox="allow-same-origin"></iframe>
  </details>
</form>
% if not form.is_page:
<datalist id="known-tags">
% for name in known_tags:
  <option value="${name}"></option>
% endfor
</datalist>
% endif
% if entry:
<h2>${t("Delete or duplicate")}</h2>
<form method="post" action="${path('editor_entry', id=entry.id)}">
  ${parent.csrf()}
  <p><button type="submit" name="action" value="delete" class="quiet">${t("Delete this page") if entry.is_page else t("Delete this entry")}</button>
  <span class="hint">${t("It can be brought back for a month.")}</span></p>
  <p><button type="submit" name="action" value="duplicate" class="quiet">${t("Duplicate this page") if entry.is_page else t("Duplicate this entry")}</button>
  <span class="hint">${t("The saved text becomes a new draft.")}</span></p>
</form>
% endif

<%def name="line(name, label, kind='text')">
<%
    # A browser leaves out what is no time, and it is to be corrected.
    kind = "text" if name in form.faults else kind
%>\
<p class="field">
  <label for="${name}">${label}</label>
  <input id="${name}" name="${name}" type="${kind}" value="${form.texts[name]}"${' step="1"' if kind != 'text' else '' | n}${described(name) | n}${' required' if name == 'title' else '' | n}${' list="known-tags" autocomplete="off"' if name == 'tags' else '' | n}>
  ${fault(name)}
</p>
</%def>

<%def name="toolbar()">
    <div class="toolbar" role="toolbar" aria-label="${t('Markdown')}" aria-controls="body" hidden>
      <button type="button" class="quiet" data-around="**" data-key="b" aria-keyshortcuts="Control+B">${t("Bold")}</button>
      <button type="button" class="quiet" data-around="*" data-key="i" aria-keyshortcuts="Control+I">${t("Italic")}</button>
      <button type="button" class="quiet" data-link data-key="k" aria-keyshortcuts="Control+K">${t("Link")}</button>
      <button type="button" class="quiet" data-before="## ">${t("Heading")}</button>
      <button type="button" class="quiet" data-before="- ">${t("List")}</button>
      <button type="button" class="quiet" data-before="> ">${t("Quotation")}</button>
      <button type="button" class="quiet" data-around="`">${t("Code")}</button>
% if has_media:
      <button type="button" class="quiet" data-picture>${t("Picture")}</button>
% endif
    </div>
</%def>

<%def name="described(name)"><%
    if name in form.faults:
        context.write(f' aria-invalid="true" aria-describedby="{name}-fault"')
%></%def>

<%def name="fault(name)">
% if name in form.faults:
<span class="fault" id="${name}-fault">${form.faults[name]}</span>
% endif
</%def>
